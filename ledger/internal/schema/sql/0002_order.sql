-- Officers' words, customers' orders and the identities they took.

CREATE TABLE IF NOT EXISTS statement (
  hash   BYTEA  PRIMARY KEY,
  kind   TEXT   NOT NULL,
  ord    BIGINT NOT NULL,
  lot    TEXT   NOT NULL,
  signed BYTEA  NOT NULL
);

CREATE INDEX IF NOT EXISTS statement_lot ON statement (lot, ord);

-- nonce, canonical and resolved open the commitment in the log. They may be NULL, the log stays valid
-- without them; in this release nothing deletes them.
CREATE TABLE IF NOT EXISTS customer_order (
  order_id  TEXT   PRIMARY KEY,
  hash      BYTEA  NOT NULL UNIQUE,
  nonce     BYTEA,
  canonical BYTEA,
  resolved  BYTEA,
  state     TEXT   NOT NULL CHECK (state IN ('accepted', 'released', 'rejected', 'delivered')),
  created   BIGINT NOT NULL
);

-- Of an order with the customer's own Ki: SHA-256 of his file, and what the release names of it. It stays.
CREATE TABLE IF NOT EXISTS customer_ki (
  order_id     TEXT   PRIMARY KEY REFERENCES customer_order (order_id),
  file         BYTEA  NOT NULL,
  root         BYTEA  NOT NULL,
  units        BIGINT NOT NULL CHECK (units > 0),
  receive_key  TEXT   NOT NULL,
  receive_mode TEXT   NOT NULL
);

-- The rows as received, encrypted, 64 to a page, and the hashes from the page to the root (perso/order/kifile, Page). They
-- go when the vault has certified that the lot's key is destroyed.
CREATE TABLE IF NOT EXISTS customer_ki_page (
  order_id TEXT   NOT NULL REFERENCES customer_order (order_id),
  page     BIGINT NOT NULL CHECK (page >= 0),
  eki      BYTEA  NOT NULL,
  hashes   BYTEA  NOT NULL,
  PRIMARY KEY (order_id, page)
);

-- A file of Ki on its way in, encrypted, until its order is accepted or another file comes.
CREATE TABLE IF NOT EXISTS customer_ki_part (
  file BYTEA  NOT NULL,
  size BIGINT NOT NULL CHECK (size >= 0),
  at   BIGINT NOT NULL CHECK (at >= 0),
  upto BIGINT NOT NULL CHECK (upto >= at),
  data BYTEA  NOT NULL,
  PRIMARY KEY (file, at)
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
