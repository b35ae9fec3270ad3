package sqldb

import "context"

// OpenAsCockroach opens a PostgreSQL and deals with it as if it were CockroachDB.
func OpenAsCockroach(ctx context.Context, at Server) (DB, error) {
	db, err := OpenServer(ctx, at)
	if err != nil {
		return nil, err
	}
	d := db.(*serverDB)
	d.kind, d.run = Cockroach, d.runCockroach
	return d, nil
}
