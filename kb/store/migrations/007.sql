-- Records that a source lists and does not give, or cannot give readably: the next harvest asks for them again.
CREATE TABLE pending (
    source      VARCHAR NOT NULL,           -- as in harvests
    paper_id    VARCHAR NOT NULL,           -- canonical; empty where only the time of submission is known
    first       TIMESTAMP,                  -- first and last time of submission; NULL where the id is known
    last        TIMESTAMP
);
