-- Where a title comes from, how sure a repository in a note is the paper's own, and which files of notes were read.

ALTER TABLE notes ADD COLUMN title_source VARCHAR DEFAULT '';       -- '' for notes read before this was kept
ALTER TABLE mentions ADD COLUMN confidence DOUBLE DEFAULT 0.8;      -- of a repository in a note
ALTER TABLE mentions ADD COLUMN evidence VARCHAR DEFAULT 'a note on the paper names it';

-- Of papers that only notes tell of: which note gives the title.
CREATE TABLE title_origins (
    paper_id     VARCHAR NOT NULL,
    title_source VARCHAR NOT NULL,
    source       VARCHAR NOT NULL,
    line         INTEGER NOT NULL
);

CREATE TABLE note_files (
    source      VARCHAR NOT NULL,
    digest      VARCHAR NOT NULL            -- of the bytes and of the reader's version
);
