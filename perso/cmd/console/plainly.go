package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// plainly is an error as people read it: what the operating system says, "open x: no such file or directory", becomes a sentence
// that names the file. Every error of a command goes through here, so that none needs to think of it.
func plainly(err error) string {
	text := err.Error()
	var path *fs.PathError
	if errors.As(err, &path) {
		text = strings.ReplaceAll(text, path.Error(), onPath(path.Path, path.Err))
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		text = strings.ReplaceAll(text, link.Error(), onPath(link.New, link.Err))
	}
	return text
}

func onPath(path string, err error) string {
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Sprintf("a part of %q is a file where a folder is expected", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Sprintf("%q is a folder, a file is expected", path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no %q", path)
	case errors.Is(err, fs.ErrExist):
		return fmt.Sprintf("%q is there already", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("this user may not do that with %q", path)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Sprintf("the disk of %q is full", path)
	case errors.Is(err, syscall.EROFS):
		return fmt.Sprintf("the file system of %q is read-only", path)
	}
	return fmt.Sprintf("%q: %v", path, err)
}

// flagFault says what is wrong with a flag.
func flagFault(_ *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &value):
		return Usage("--%s: %q is %s", value.GetFlag().Name, value.GetValue(), notA(value.GetFlag().Value.Type(), value))
	case errors.As(err, &missing):
		return Usage("--%s needs a value", missing.GetFlag().Name)
	}
	return err
}

// notA says what a value is not, by the type of its flag.
func notA(kind string, err error) string {
	switch {
	case errors.Is(err, strconv.ErrRange):
		return "too small or too large"
	case strings.HasPrefix(kind, "uint"):
		return "no whole number from 0 on"
	case strings.HasPrefix(kind, "int"):
		return "no whole number"
	case strings.HasPrefix(kind, "float"):
		return "no number"
	case kind == "duration":
		return "no time span like 90s or 1h30m"
	case kind == "bool":
		return "neither true nor false"
	}
	return "no " + kind
}
