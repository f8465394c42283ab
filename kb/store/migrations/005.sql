-- What a note without a title was found to be about, by its authors and text.
CREATE TABLE note_matches (
    note_id     VARCHAR NOT NULL,           -- the note's own id, `url:note:…`
    paper_id    VARCHAR NOT NULL,
    confidence  DOUBLE NOT NULL,
    standing    VARCHAR NOT NULL            -- 'made', 'offered', or the user's word on it: 'accepted', 'refused'
);
