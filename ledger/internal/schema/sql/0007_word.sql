-- What stands still by an officer's word, until two let it go on. hash is the word's.
CREATE TABLE IF NOT EXISTS frozen (
  what   TEXT   NOT NULL CHECK (what IN ('order', 'lot', 'line', 'key')),
  name   TEXT   NOT NULL,
  reason TEXT   NOT NULL,
  hash   BYTEA  NOT NULL,
  since  BIGINT NOT NULL,
  PRIMARY KEY (what, name)
);

-- The lot that a line was last cleared for.
CREATE TABLE IF NOT EXISTS line_clearance (
  line TEXT PRIMARY KEY,
  lot  TEXT NOT NULL
);

-- Live rejects that two officers saw destroyed; statement is the hash of their word.
CREATE TABLE IF NOT EXISTS destroyed_chip (
  chip      BYTEA PRIMARY KEY,
  statement BYTEA NOT NULL
);
