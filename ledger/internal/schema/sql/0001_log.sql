-- The Merkle log (package tree) and loose facts about this ledger.

CREATE TABLE IF NOT EXISTS meta (
  key   TEXT  PRIMARY KEY,
  value BYTEA NOT NULL
);

-- Processes that ran this ledger, by the random names under which they meet on the bus.
CREATE TABLE IF NOT EXISTS process (
  instance BYTEA  PRIMARY KEY,
  since    BIGINT NOT NULL
);

-- One row. size is advanced by compare-and-set before anything else is written; note is the last signed checkpoint.
CREATE TABLE IF NOT EXISTS log_head (
  id          BIGINT PRIMARY KEY CHECK (id = 1),
  size        BIGINT NOT NULL CHECK (size >= 0),
  signed_size BIGINT NOT NULL CHECK (signed_size >= 0 AND signed_size <= size),
  note        BYTEA
);

INSERT INTO log_head (id, size, signed_size) VALUES (1, 0, 0) ON CONFLICT DO NOTHING;

-- body is what is hashed; kind and subject are an index to it.
CREATE TABLE IF NOT EXISTS log_entry (
  seq     BIGINT PRIMARY KEY CHECK (seq >= 0),
  kind    TEXT   NOT NULL,
  subject BYTEA  NOT NULL,
  body    BYTEA  NOT NULL
);

CREATE INDEX IF NOT EXISTS log_entry_subject ON log_entry (subject, seq);

-- Full tiles only: 256 hashes of 32 bytes. Partial tiles follow from the entries.
CREATE TABLE IF NOT EXISTS log_tile (
  level BIGINT NOT NULL CHECK (level >= 0),
  n     BIGINT NOT NULL CHECK (n >= 0),
  data  BYTEA  NOT NULL,
  PRIMARY KEY (level, n)
);
