-- One chip's way: claim, sessions, acts.

-- A claim is a unit in one generation on one chip. An EID and a chip appear once for ever (I1); a SIM has no EID. pair is the private key of
-- cert_key where the HSM made it, sealed for one session; no verdict leaves it there.
CREATE TABLE IF NOT EXISTS claim (
  lot          TEXT   NOT NULL,
  unit         BIGINT NOT NULL CHECK (unit >= 0),
  gen          BIGINT NOT NULL CHECK (gen >= 0 AND gen <= 15),
  eid_index    BIGINT NOT NULL CHECK (eid_index >= 0),
  eid          BYTEA  UNIQUE,
  chip         BYTEA  NOT NULL UNIQUE,
  state        TEXT   NOT NULL CHECK (state IN ('open', 'given-up', 'good', 'lost')),
  seq          BIGINT NOT NULL,
  loss_seq     BIGINT NOT NULL CHECK (loss_seq >= 0 AND (loss_seq > 0) = (gen > 0)),
  outcome_seq  BIGINT NOT NULL CHECK ((outcome_seq > 0) = (state IN ('good', 'lost'))),
  cert         BYTEA,
  cert_key     BYTEA,
  ki           BYTEA,
  pair         BYTEA  CHECK (pair IS NULL OR state = 'open'),
  eis_sig      BYTEA,
  sessions     BIGINT NOT NULL CHECK (sessions >= 0),
  failures     BIGINT NOT NULL CHECK (failures >= 0),
  last_counter BIGINT NOT NULL,
  line         TEXT   NOT NULL,
  head         BIGINT NOT NULL,
  number       BIGINT NOT NULL,
  PRIMARY KEY (lot, unit, gen),
  UNIQUE (lot, eid_index)
);

-- Units that wait for a re-make; gen is the generation that was lost.
CREATE TABLE IF NOT EXISTS lost_unit (
  lot  TEXT   NOT NULL,
  unit BIGINT NOT NULL,
  gen  BIGINT NOT NULL,
  PRIMARY KEY (lot, unit)
);

-- Units that two officers gave up, while they were in work or before their good chip lay in a bin: hash and seq are their
-- statement's and its log entry's, receipt is the vault's answer, NULL while there is none, good says that it had called the
-- unit good before. fate says where the chip is, and counts while no head has binned it (bin).
CREATE TABLE IF NOT EXISTS unit_lost (
  lot     TEXT    NOT NULL,
  unit    BIGINT  NOT NULL,
  gen     BIGINT  NOT NULL,
  hash    BYTEA   NOT NULL UNIQUE,
  seq     BIGINT  NOT NULL,
  chip    BYTEA   NOT NULL UNIQUE,
  fate    TEXT    NOT NULL CHECK (fate IN ('reject-live', 'missing')),
  bin     TEXT    NOT NULL,
  receipt BYTEA,
  good    BOOLEAN NOT NULL,
  PRIMARY KEY (lot, unit, gen)
);

-- A host challenge (serial) serves once. last_n is the newest act; at is when it came.
CREATE TABLE IF NOT EXISTS session (
  session BYTEA   PRIMARY KEY,
  lot     TEXT    NOT NULL,
  unit    BIGINT  NOT NULL,
  gen     BIGINT  NOT NULL,
  serial  BIGINT  NOT NULL,
  command BYTEA   NOT NULL,
  answer  BYTEA   NOT NULL,
  line    TEXT    NOT NULL,
  head    BIGINT  NOT NULL,
  number  BIGINT  NOT NULL,
  last_n  BIGINT  NOT NULL CHECK (last_n >= 0),
  ended   BOOLEAN NOT NULL,
  at      BIGINT  NOT NULL,
  UNIQUE (lot, serial)
);

CREATE INDEX IF NOT EXISTS session_unit ON session (lot, unit, gen);

CREATE INDEX IF NOT EXISTS session_place ON session (line, head, number);

-- served is the hash of the state that went out with the window, which must come back with its answers; final says that these
-- bring the verdict. A session is named by
-- its host challenge here: challenges count up, so that acts of the same time lie side by side.
CREATE TABLE IF NOT EXISTS act (
  lot            TEXT   NOT NULL,
  serial         BIGINT NOT NULL,
  n              BIGINT NOT NULL CHECK (n >= 0),
  responses_hash BYTEA  NOT NULL,
  served         BYTEA,
  final          BOOLEAN NOT NULL,
  seq            BIGINT NOT NULL,
  at             BIGINT NOT NULL,
  PRIMARY KEY (lot, serial, n)
);

-- What a session asked its verdict with, until the claim ends. Apart from the acts, because these rows are large and gone soon.
CREATE TABLE IF NOT EXISTS verdict_due (
  lot       TEXT   NOT NULL,
  serial    BIGINT NOT NULL,
  n         BIGINT NOT NULL,
  responses BYTEA  NOT NULL,
  state     BYTEA  NOT NULL,
  PRIMARY KEY (lot, serial, n)
);
