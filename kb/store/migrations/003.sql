-- How sure a code link is and why, and what the forges say of the repositories.

ALTER TABLE code_links ADD COLUMN confidence DOUBLE DEFAULT 0.7;    -- that this is the paper's own code, data or model
ALTER TABLE code_links ADD COLUMN evidence VARCHAR DEFAULT '';
ALTER TABLE code_links ADD COLUMN framework VARCHAR DEFAULT '';

CREATE TABLE repositories (
    url         VARCHAR NOT NULL,           -- as links have it, in small letters
    checked     TIMESTAMP NOT NULL,         -- UTC
    stars       INTEGER,                    -- at that time
    archived    BOOLEAN NOT NULL,
    gone        BOOLEAN NOT NULL,
    moved_to    VARCHAR NOT NULL,           -- its present address where it has another; else empty
    etag        VARCHAR NOT NULL            -- with which the forge can be asked whether anything changed
);

-- When Hugging Face was last asked about a paper, and the project page that it knows.
CREATE TABLE paper_checks (
    paper_id     VARCHAR NOT NULL,
    checked      TIMESTAMP NOT NULL,        -- UTC
    project_page VARCHAR NOT NULL
);

-- Every repository of a paper once, under its present address. What is less sure than even is merely mentioned.
CREATE VIEW paper_repositories AS
    SELECT paper_id, any_value(address ORDER BY place, address) AS url, arg_min(source, place) AS source,
           bool_or(official) AS official, coalesce(max(now.stars), max(linked.stars)) AS stars,
           max(confidence) AS confidence, arg_max(evidence, (confidence, -place)) AS evidence, min(place) AS place,
           max(framework) AS framework, max(now.checked) AS checked, coalesce(bool_or(now.archived), FALSE) AS archived
    FROM (
        SELECT *, list_position(['abstract', 'comments', 'notes', 'huggingface', 'paperswithcode'], source) AS place
        FROM code_links
    ) AS linked
    LEFT JOIN repositories AS now ON now.url = lower(linked.url)
    CROSS JOIN LATERAL (SELECT coalesce(nullif(now.moved_to, ''), linked.url)) AS present(address)
    WHERE NOT coalesce(now.gone, FALSE)
    GROUP BY paper_id, lower(address);

CREATE VIEW paper_code AS SELECT * FROM paper_repositories WHERE confidence >= 0.5;
