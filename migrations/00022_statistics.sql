-- What offices report, counted ahead, and what a run of a search found beside the run before it.

-- +goose Up
-- Each row is a number of a month and a county: how many of a measure there were. value is what is spread over, such as the days that something took; it is 0 where
-- there is nothing to spread. The housekeeping counts all of it anew (decision 0022); nothing here is about one person, and small numbers are all the same.
CREATE TABLE statistics (
    region  text NOT NULL,
    month   date NOT NULL,
    measure text NOT NULL,
    code    text NOT NULL,
    value   int NOT NULL,
    n       bigint NOT NULL CHECK (n > 0),
    PRIMARY KEY (measure, month, region, code, value)
);
CREATE TABLE statistics_counted (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    at       timestamptz          -- NULL until it was counted once
);
INSERT INTO statistics_counted DEFAULT VALUES;
ALTER TABLE statistics ENABLE ROW LEVEL SECURITY;
ALTER TABLE statistics FORCE ROW LEVEL SECURITY;
CREATE POLICY reached ON statistics USING ((SELECT current_setting('liferelay.everywhere', true) = 'on')
    OR region <@ (SELECT nullif(current_setting('liferelay.reach', true), '')::region_ranges)) WITH CHECK (true);

-- What the run before had of a candidate: nothing where it had not found them. Between runs a report is written anew as well; that is not a run.
ALTER TABLE link.candidates ADD COLUMN before_rank int, ADD COLUMN before_matched smallint, ADD COLUMN before_possible smallint, ADD COLUMN lost_in int;
UPDATE link.candidates SET before_rank = rank, before_matched = matched, before_possible = possible WHERE change = 'same';

-- +goose Down
ALTER TABLE link.candidates DROP COLUMN before_rank, DROP COLUMN before_matched, DROP COLUMN before_possible, DROP COLUMN lost_in;
DROP TABLE statistics_counted, statistics;
