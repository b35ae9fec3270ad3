package sqldb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// This file is what rows may hold and where it may go, which is the same on every database.

// fill copies a row's values to where they are wanted.
func fill(dest []any, row []driver.Value) error {
	if len(dest) != len(row) {
		return fmt.Errorf("row has %d columns, not %d", len(row), len(dest))
	}
	for i, v := range row {
		if err := assign(dest[i], v); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// assign takes what the portable subset can hold. A narrower integer must have room for the value.
func assign(dest any, v driver.Value) error {
	if d, ok := dest.(*any); ok { // whatever the column holds: for who copies rows without knowing what they mean
		*d = v
		return nil
	}
	switch v := v.(type) {
	case int64:
		return assignInt(dest, v)
	case string:
		if d, ok := dest.(*string); ok {
			*d = v
			return nil
		}
	case []byte:
		if d, ok := dest.(*[]byte); ok {
			*d = v
			return nil
		}
	case bool:
		if d, ok := dest.(*bool); ok {
			*d = v
			return nil
		}
	case nil:
		if d, ok := dest.(*[]byte); ok {
			*d = nil
			return nil
		}
	}
	return fmt.Errorf("a %T does not fit %T", v, dest)
}

func assignInt(dest any, v int64) error {
	switch d := dest.(type) {
	case *int64:
		*d = v
		return nil
	case *int:
		return narrow(d, v)
	case *uint8:
		return narrow(d, v)
	case *uint16:
		return narrow(d, v)
	case *uint32:
		return narrow(d, v)
	case *uint64:
		return narrow(d, v)
	case *bool: // an expression has no declared type
		*d = v != 0
		return nil
	}
	return fmt.Errorf("an integer does not fit %T", dest)
}

func narrow[T int | uint8 | uint16 | uint32 | uint64](d *T, v int64) error {
	if *d = T(v); int64(*d) != v || v < 0 && *d > 0 {
		return fmt.Errorf("%d does not fit %T", v, *d)
	}
	return nil
}

// none says that a statement had no row.
func none(err error) bool { return errors.Is(err, io.EOF) }
