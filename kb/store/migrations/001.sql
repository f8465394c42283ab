-- The catalogue: papers, what notes say of them, and their code. All of it can be made again from its sources.

CREATE SEQUENCE paper_keys START 1;

-- Title as compared between sources: letters and digits only, without case or accents.
CREATE MACRO title_key(title) AS
    regexp_replace(lower(strip_accents(title)), '[^\p{L}\p{N}]+', '', 'g');

CREATE TABLE papers (
    key         BIGINT NOT NULL,            -- the paper's number in every index
    id          VARCHAR NOT NULL,           -- canonical id
    title       VARCHAR NOT NULL,
    title_key   VARCHAR NOT NULL,
    abstract    VARCHAR NOT NULL,           -- empty where only notes tell of the paper
    authors     STRUCT(family VARCHAR, given VARCHAR, suffix VARCHAR)[] NOT NULL,
    categories  VARCHAR[] NOT NULL,         -- the primary one first
    comments    VARCHAR NOT NULL,
    journal_ref VARCHAR NOT NULL,
    doi         VARCHAR NOT NULL,
    licence     VARCHAR NOT NULL,
    url         VARCHAR NOT NULL,
    published   DATE,                       -- of version 1
    updated     DATE,
    year        INTEGER,
    versions    STRUCT(number INTEGER, created TIMESTAMP)[] NOT NULL,
    withdrawn   BOOLEAN NOT NULL,
    origin      VARCHAR NOT NULL            -- 'arxiv', or 'notes' where only notes tell of it
);

CREATE TABLE notes (
    number      BIGINT NOT NULL,            -- order within its source
    source      VARCHAR NOT NULL,
    line        INTEGER NOT NULL,
    named_id    VARCHAR NOT NULL,           -- the paper as the document names it
    paper_id    VARCHAR NOT NULL,           -- the paper it turned out to be
    title       VARCHAR NOT NULL,
    body        VARCHAR NOT NULL,           -- Markdown
    plain       VARCHAR NOT NULL,           -- the body as read by a model
    authors     VARCHAR[] NOT NULL,
    venue       VARCHAR NOT NULL,
    year        INTEGER,
    url         VARCHAR NOT NULL,
    section     VARCHAR NOT NULL,
    tags        VARCHAR[] NOT NULL
);

-- Links inside a note (its number), or beside the notes of a document (no number).
CREATE TABLE mentions (
    source      VARCHAR NOT NULL,
    note        BIGINT,
    line        INTEGER NOT NULL,
    kind        VARCHAR NOT NULL,
    target      VARCHAR NOT NULL,
    text        VARCHAR NOT NULL,
    stars       INTEGER,
    remark      VARCHAR NOT NULL
);

-- Other ids under which a paper is known: its OpenReview copy, its DOI.
CREATE TABLE aliases (
    id          VARCHAR NOT NULL,
    paper_id    VARCHAR NOT NULL,
    reason      VARCHAR NOT NULL            -- 'doi' or 'title'
);

CREATE TABLE code_links (
    paper_id    VARCHAR NOT NULL,
    url         VARCHAR NOT NULL,           -- https://host/owner/name
    source      VARCHAR NOT NULL,           -- 'abstract', 'comments', 'notes'
    official    BOOLEAN,
    stars       INTEGER
);

CREATE SEQUENCE run_numbers START 1;

CREATE TABLE runs (
    number      BIGINT NOT NULL,
    job         VARCHAR NOT NULL,
    source      VARCHAR NOT NULL,
    started     TIMESTAMP NOT NULL,         -- UTC
    finished    TIMESTAMP NOT NULL,
    outcome     VARCHAR NOT NULL,           -- 'done', 'partial', 'failed'
    counts      MAP(VARCHAR, BIGINT) NOT NULL,
    message     VARCHAR NOT NULL
);

CREATE TABLE skipped (
    run         BIGINT NOT NULL,
    source      VARCHAR NOT NULL,
    line        INTEGER NOT NULL,
    reason      VARCHAR NOT NULL
);

-- What is embedded: a paper's abstract, or the notes on it where it has none.
CREATE VIEW documents AS
    SELECT papers.key, papers.id, papers.title,
           CASE WHEN abstract <> '' THEN abstract ELSE coalesce(said.plain, '') END AS body
    FROM papers
    LEFT JOIN (
        SELECT paper_id, string_agg(plain, ' ' ORDER BY source, number) AS plain FROM notes GROUP BY paper_id
    ) AS said ON said.paper_id = papers.id AND papers.abstract = '';
