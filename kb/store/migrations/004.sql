-- A repository's stars may be known from Hugging Face alone: then the day on which it was asked is theirs.
CREATE OR REPLACE VIEW paper_repositories AS
    SELECT paper_id, any_value(address ORDER BY place, address) AS url, arg_min(source, place) AS source,
           bool_or(official) AS official, coalesce(max(now.stars), max(linked.stars)) AS stars,
           max(confidence) AS confidence, arg_max(evidence, (confidence, -place)) AS evidence, min(place) AS place,
           max(framework) AS framework,
           coalesce(max(now.checked), max(asked.checked) FILTER (linked.source = 'huggingface')) AS checked,
           coalesce(bool_or(now.archived), FALSE) AS archived
    FROM (
        SELECT *, list_position(['abstract', 'comments', 'notes', 'huggingface', 'paperswithcode'], source) AS place
        FROM code_links
    ) AS linked
    LEFT JOIN repositories AS now ON now.url = lower(linked.url)
    LEFT JOIN paper_checks AS asked USING (paper_id)
    CROSS JOIN LATERAL (SELECT coalesce(nullif(now.moved_to, ''), linked.url)) AS present(address)
    WHERE NOT coalesce(now.gone, FALSE)
    GROUP BY paper_id, lower(address);
