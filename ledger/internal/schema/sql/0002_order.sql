-- Officers' words, customers' orders and the identities they took.

CREATE TABLE IF NOT EXISTS statement (
  hash   BYTEA  PRIMARY KEY,
  kind   TEXT   NOT NULL,
  ord    BIGINT NOT NULL,
  lot    TEXT   NOT NULL,
  signed BYTEA  NOT NULL
);

CREATE INDEX IF NOT EXISTS statement_lot ON statement (lot, ord);

-- nonce, canonical and resolved open the commitment in the log; deletion after delivery makes them NULL.
CREATE TABLE IF NOT EXISTS customer_order (
  order_id  TEXT   PRIMARY KEY,
  hash      BYTEA  NOT NULL UNIQUE,
  nonce     BYTEA,
  canonical BYTEA,
  resolved  BYTEA,
  state     TEXT   NOT NULL CHECK (state IN ('accepted', 'released', 'rejected', 'delivered')),
  created   BIGINT NOT NULL
);

-- lo and hi are inclusive, of equal length within a kind, so that bytes sort as numbers do.
CREATE TABLE IF NOT EXISTS issued_range (
  kind     TEXT  NOT NULL,
  lo       BYTEA NOT NULL,
  hi       BYTEA NOT NULL,
  order_id TEXT  NOT NULL REFERENCES customer_order (order_id),
  PRIMARY KEY (kind, lo),
  CHECK (lo <= hi)
);

CREATE INDEX IF NOT EXISTS issued_range_hi ON issued_range (kind, hi);
