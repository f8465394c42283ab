-- What follows from notes and papers together; running it again changes nothing. See `Notes.settle`.
-- The best source of a field wins: a bibliography, front matter, a heading, an item, the words of a link, a file's name.
CREATE OR REPLACE TEMP TABLE ranked AS
    SELECT *, coalesce(list_position(['bibliography', 'metadata', 'heading', 'item', 'link', 'file'], title_source), 4) AS rank
    FROM notes;
CREATE OR REPLACE TEMP TABLE named AS
    SELECT named_id AS id, arg_min(title, (title = '', rank, source, number)) AS title,
           arg_min(title_source, (title = '', rank, source, number)) AS title_source,
           arg_min(source, (title = '', rank, source, number)) AS title_document,
           arg_min(line, (title = '', rank, source, number)) AS title_line,
           arg_min(authors, (len(authors) = 0, rank, source, number)) AS authors,
           arg_min(venue, (venue = '', rank, source, number)) AS venue,
           arg_min(year, (year IS NULL, rank, source, number)) AS year,
           arg_min(url, (url = '', source, number)) AS url,
           title_key(arg_min(title, (title = '', rank, source, number))) AS title_key
    FROM ranked GROUP BY named_id;

DELETE FROM aliases;
INSERT INTO aliases
    SELECT named.id, min(papers.id), 'doi' FROM named JOIN papers ON papers.doi = named.id[5:]
    WHERE starts_with(named.id, 'doi:') AND papers.origin = 'arxiv' GROUP BY named.id HAVING count(*) = 1;
INSERT INTO aliases
    SELECT named.id, min(papers.id), 'title'
    FROM named JOIN papers USING (title_key)
    WHERE papers.origin = 'arxiv' AND NOT starts_with(named.id, 'arxiv:') AND named.id NOT IN (SELECT id FROM aliases)
      AND length(title_key) >= 16 AND named.title LIKE '% % %'
      AND coalesce(abs(named.year - papers.year) <= 3, TRUE)
    GROUP BY named.id HAVING count(*) = 1;
-- Two notes on one paper that is in no catalogue: the firmer kind of id stands.
INSERT INTO aliases
    SELECT other.id, min(firm.id), 'title'
    FROM named AS other JOIN named AS firm USING (title_key)
    WHERE length(title_key) >= 16 AND other.title LIKE '% % %' AND coalesce(abs(other.year - firm.year) <= 3, TRUE)
      AND list_position(['arxiv', 'doi', 'openreview', 'url'], split_part(firm.id, ':', 1))
          + CASE WHEN starts_with(firm.id, 'url:note:') THEN 1 ELSE 0 END
        < list_position(['arxiv', 'doi', 'openreview', 'url'], split_part(other.id, ':', 1))
          + CASE WHEN starts_with(other.id, 'url:note:') THEN 1 ELSE 0 END
      AND other.id NOT IN (SELECT id FROM aliases) AND firm.id NOT IN (SELECT id FROM aliases)
    GROUP BY other.id HAVING count(*) = 1;
-- A note without a title is about the paper that it was found to be, under the name that this has by now.
INSERT INTO aliases
    SELECT note_id, paper, 'text'
    FROM (SELECT note_id, coalesce(aliases.paper_id, note_matches.paper_id) AS paper
          FROM note_matches LEFT JOIN aliases ON aliases.id = note_matches.paper_id WHERE standing IN ('made', 'accepted'))
    WHERE note_id IN (SELECT id FROM named) AND paper <> note_id
      AND paper IN (SELECT id FROM papers WHERE origin = 'arxiv' UNION ALL SELECT id FROM named);

UPDATE notes SET paper_id = named_id;
UPDATE notes SET paper_id = aliases.paper_id FROM aliases WHERE aliases.id = notes.named_id;

CREATE OR REPLACE TEMP TABLE known_by_notes AS
    SELECT named.*, CASE WHEN title <> '' THEN title
                         WHEN len(authors) > 0 THEN 'Untitled paper by ' || array_to_string(authors[:3], ', ')
                             || CASE WHEN len(authors) > 3 THEN ' et al.' ELSE '' END
                         ELSE id END AS shown
    FROM named
    WHERE id NOT IN (SELECT id FROM aliases) AND id NOT IN (SELECT id FROM papers WHERE origin = 'arxiv');
DELETE FROM papers WHERE origin = 'notes' AND id NOT IN (SELECT id FROM known_by_notes);
CREATE OR REPLACE TEMP TABLE stubs AS
    SELECT id, shown AS title, title_key(shown) AS title_key,
        list_transform(authors, lambda n: {'family': regexp_extract(n, '\S+$'), 'given': trim(regexp_replace(n, '\S+$', '')),
                                           'suffix': ''}) AS authors,
        venue AS journal_ref, url,
        coalesce(year, CASE WHEN starts_with(id, 'arxiv:') AND id[7:8] SIMILAR TO '\d\d' THEN 2000 + id[7:8]::INTEGER END) AS year
    FROM known_by_notes;
UPDATE papers SET title = stubs.title, title_key = stubs.title_key, authors = stubs.authors, journal_ref = stubs.journal_ref,
                  url = stubs.url, year = stubs.year
    FROM stubs WHERE papers.id = stubs.id
      AND row(papers.title, papers.authors, papers.journal_ref, papers.url, papers.year)
          IS DISTINCT FROM row(stubs.title, stubs.authors, stubs.journal_ref, stubs.url, stubs.year);
INSERT INTO papers
    SELECT nextval('paper_keys'), id, title, title_key, '', authors, [], '', journal_ref, CASE WHEN starts_with(id, 'doi:')
        THEN id[5:] ELSE '' END, '', url, NULL, NULL, year, [], FALSE, 'notes'
    FROM (SELECT * FROM stubs ANTI JOIN papers USING (id) ORDER BY id);

DELETE FROM code_links WHERE source = 'notes';
INSERT INTO code_links BY NAME
    SELECT notes.paper_id, arg_max(target, (mentions.confidence, target)) AS url, 'notes' AS source,
        NULL::BOOLEAN AS official, max(mentions.stars) AS stars, max(mentions.confidence) AS confidence,
        arg_max(mentions.evidence, (mentions.confidence, target)) AS evidence, '' AS framework
    FROM mentions JOIN notes ON notes.source = mentions.source AND notes.number = mentions.note
    WHERE mentions.kind = 'repository' GROUP BY notes.paper_id, lower(target);
-- An author's own account speaks for a repository, an archive that names another as official against it.
UPDATE code_links SET confidence = least(0.95, confidence + 0.2), evidence = evidence || ', owned by an author'
    FROM papers
    WHERE code_links.source = 'notes' AND papers.id = code_links.paper_id AND NOT contains(evidence, 'owned by an author')
      AND len(list_filter(papers.authors, lambda a: length(a.family) >= 4
              AND contains(lower(split_part(code_links.url, '/', 4)), lower(strip_accents(a.family))))) > 0;
UPDATE code_links SET confidence = least(confidence, 0.45), evidence = evidence || ', another is official by an archive'
    WHERE source = 'notes' AND EXISTS (
        SELECT 1 FROM code_links AS other
        WHERE other.paper_id = code_links.paper_id AND other.official AND other.source <> 'notes')
      AND NOT EXISTS (
        SELECT 1 FROM code_links AS same
        WHERE same.paper_id = code_links.paper_id AND same.source <> 'notes' AND lower(same.url) = lower(code_links.url));
DELETE FROM title_origins;
INSERT INTO title_origins
    SELECT id, title_source, title_document, title_line FROM known_by_notes WHERE title <> '';
DROP TABLE ranked;
DROP TABLE named; DROP TABLE known_by_notes; DROP TABLE stubs;
