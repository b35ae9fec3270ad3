-- Lots of whose units quality examines some, and what it said of them.
CREATE TABLE IF NOT EXISTS sampling (
  lot   TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('due', 'accepted', 'rejected'))
);

-- Good units that were drawn: nth is how many of the lot were good before, result is what became of the chip.
CREATE TABLE IF NOT EXISTS sample (
  chip   BYTEA   PRIMARY KEY,
  lot    TEXT    NOT NULL,
  nth    BIGINT  NOT NULL,
  binned BOOLEAN NOT NULL,
  result TEXT    NOT NULL CHECK (result IN ('', 'output', 'kept', 'failed'))
);

CREATE INDEX IF NOT EXISTS sample_lot ON sample (lot, nth);
