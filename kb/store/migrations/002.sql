-- The ledger of versions and withdrawals, how far each harvest has come, and what a run asked of the far side.

-- The title and abstract that a version had, kept when a later version changed them; the present text is the paper's.
CREATE TABLE former_texts (
    paper_id    VARCHAR NOT NULL,
    version     INTEGER NOT NULL,
    title       VARCHAR NOT NULL,
    abstract    VARCHAR NOT NULL
);

CREATE TABLE withdrawals (
    paper_id    VARCHAR NOT NULL,
    version     INTEGER NOT NULL,           -- the version that withdrew the paper
    noticed     DATE,                       -- date of the record that told of it
    reason      VARCHAR NOT NULL            -- what the authors or arXiv say of it; empty where nothing is said
);
INSERT INTO withdrawals SELECT id, len(versions), updated, comments FROM papers WHERE withdrawn;

-- The datestamp under which OAI-PMH last gave a record: what it lists under a later one has to be asked for.
CREATE TABLE datestamps (
    paper_id    VARCHAR NOT NULL,
    datestamp   DATE NOT NULL
);

CREATE TABLE harvests (
    source      VARCHAR NOT NULL,           -- 'oai:cs:cs:CL', 'api:cat:cs.CL'
    began       TIMESTAMP,                  -- what is older was not asked for; NULL: everything was
    reached     TIMESTAMP,                  -- everything up to here is published
    finished    TIMESTAMP,                  -- when a run last came to its end
    asked_from  TIMESTAMP,                  -- where the window began that a run is in the middle of
    token       VARCHAR NOT NULL,           -- resumption token of a run that is not at its end; empty for none
    expires     TIMESTAMP,                  -- of the token
    in_progress BOOLEAN NOT NULL
);

-- Days on which a followed category has no papers, and the far side, asked again, has none either.
CREATE TABLE quiet_days (
    category    VARCHAR NOT NULL,
    day         DATE NOT NULL
);

ALTER TABLE runs ADD COLUMN span VARCHAR DEFAULT '';
ALTER TABLE runs ADD COLUMN requests BIGINT DEFAULT 0;
ALTER TABLE runs ADD COLUMN retries BIGINT DEFAULT 0;
