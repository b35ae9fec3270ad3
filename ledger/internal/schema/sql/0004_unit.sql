-- One chip's way: claim, sessions, acts.

-- A claim is a unit in one generation on one chip. An EID and a chip appear once for ever (I1).
CREATE TABLE IF NOT EXISTS claim (
  lot            TEXT   NOT NULL,
  unit           BIGINT NOT NULL CHECK (unit >= 0),
  gen            BIGINT NOT NULL CHECK (gen >= 0 AND gen <= 15),
  eid_index      BIGINT NOT NULL CHECK (eid_index >= 0),
  eid            BYTEA  NOT NULL UNIQUE,
  chip           BYTEA  NOT NULL,
  state          TEXT   NOT NULL CHECK (state IN ('open', 'good', 'lost')),
  seq            BIGINT NOT NULL,
  outcome_seq    BIGINT,
  cert           BYTEA,
  cert_key       BYTEA,
  eis_sig        BYTEA,
  sessions       BIGINT NOT NULL CHECK (sessions >= 0),
  last_counter   BIGINT NOT NULL,
  present_line   TEXT   NOT NULL,
  present_head   BIGINT NOT NULL,
  present_number BIGINT NOT NULL,
  PRIMARY KEY (lot, unit, gen),
  UNIQUE (lot, eid_index)
);

CREATE INDEX IF NOT EXISTS claim_state ON claim (lot, state);

CREATE TABLE IF NOT EXISTS chip_claim (
  chip BYTEA  PRIMARY KEY,
  lot  TEXT   NOT NULL,
  unit BIGINT NOT NULL,
  gen  BIGINT NOT NULL,
  UNIQUE (lot, unit, gen)
);

-- Units that wait for a re-make; gen is the generation that was lost.
CREATE TABLE IF NOT EXISTS lost_unit (
  lot  TEXT   NOT NULL,
  unit BIGINT NOT NULL,
  gen  BIGINT NOT NULL,
  PRIMARY KEY (lot, unit)
);

-- n and responses_hash are those of the last act; state is sealed by the vault. A host challenge (serial) serves once.
CREATE TABLE IF NOT EXISTS session (
  session        BYTEA   PRIMARY KEY,
  lot            TEXT    NOT NULL,
  unit           BIGINT  NOT NULL,
  gen            BIGINT  NOT NULL,
  serial         BIGINT  NOT NULL,
  command        BYTEA   NOT NULL,
  answer         BYTEA   NOT NULL,
  n              BIGINT  NOT NULL CHECK (n >= 0),
  responses_hash BYTEA   NOT NULL,
  state          BYTEA,
  ended          BOOLEAN NOT NULL,
  UNIQUE (lot, serial)
);

CREATE INDEX IF NOT EXISTS session_unit ON session (lot, unit, gen);

CREATE TABLE IF NOT EXISTS act (
  session        BYTEA  NOT NULL,
  n              BIGINT NOT NULL CHECK (n >= 0),
  responses_hash BYTEA  NOT NULL,
  responses      BYTEA,
  seq            BIGINT NOT NULL,
  PRIMARY KEY (session, n)
);
