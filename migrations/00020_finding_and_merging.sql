-- What a person is found by beside a whole document number, pairs of records that may be one person, and persons that were made one.

-- +goose Up
-- The last four characters of a document's number with the birth date; phone and birth date. Their keys are those of the row's other index, whose
-- version they share; rows of the program before get theirs in the upkeep.
ALTER TABLE person_documents ADD COLUMN tail_index bytea;
CREATE INDEX person_documents_by_tail ON person_documents (tail_index) WHERE tail_index IS NOT NULL;
CREATE INDEX person_documents_without_tail ON person_documents (id) WHERE tail_index IS NULL AND number_index IS NOT NULL;
ALTER TABLE persons ADD COLUMN phone_index bytea;
CREATE INDEX persons_by_phone ON persons (phone_index) WHERE phone_index IS NOT NULL;
CREATE INDEX persons_without_phone_index ON persons (id) WHERE phone_index IS NULL AND likeness_index IS NOT NULL AND phone_sealed IS NOT NULL;
ALTER TABLE staged_forms ADD COLUMN tail_index bytea, ADD COLUMN phone_index bytea;

-- How often somebody looked for a person by a part of what is known, or looked for what is not there, in an hour.
CREATE TABLE probes (
    staff_id uuid NOT NULL REFERENCES staff,
    hour     timestamptz NOT NULL,
    made     int NOT NULL,
    PRIMARY KEY (staff_id, hour)
);

-- Which rows of a batch have been held against everybody else, after the commit of which instant.
ALTER TABLE batches ADD COLUMN compared_to int NOT NULL DEFAULT -1, ADD COLUMN compared_at timestamptz;
CREATE INDEX batches_uncompared ON batches (id) WHERE status = 'committed' AND compared_at IS DISTINCT FROM committed_at;

-- A registration that was made one with another of the same programme has left; here is where it went.
ALTER TABLE registrations ADD COLUMN merged_into uuid REFERENCES registrations;
CREATE INDEX registrations_merged ON registrations (merged_into) WHERE merged_into IS NOT NULL;

-- Two records that may be one person: two persons, or a person and a row of a sheet that waits. A pair that was decided is not offered again.
CREATE TABLE duplicates (
    id              uuid PRIMARY KEY,
    person_id       uuid NOT NULL REFERENCES persons ON DELETE CASCADE,
    other_id        uuid NOT NULL,             -- another person, or whom a waiting row would make
    batch_id        uuid,                      -- of the row
    row_no          int,
    region          text NOT NULL,             -- the smallest that both lie in: its office decides
    person_region   text NOT NULL,
    other_region    text NOT NULL,
    found_by        text[] NOT NULL,           -- likeness, phone, tail
    decision        text NOT NULL DEFAULT '' CHECK (decision IN ('', 'same', 'different', 'unsure')),
    reason          text NOT NULL DEFAULT '',
    decided_by      uuid REFERENCES staff,
    decided_at      timestamptz,
    found_at        timestamptz NOT NULL,
    version         bigint NOT NULL DEFAULT 1,
    CHECK (person_id <> other_id)
);
CREATE UNIQUE INDEX duplicates_pair ON duplicates (least(person_id, other_id), greatest(person_id, other_id));
CREATE INDEX duplicates_of ON duplicates (person_id);
CREATE INDEX duplicates_with ON duplicates (other_id);
CREATE INDEX duplicates_in ON duplicates (region text_pattern_ops, id);

-- Persons that were made one. The snapshot is all that the merge changed, as it was.
CREATE TABLE merges (
    id              uuid PRIMARY KEY,
    person_id       uuid NOT NULL REFERENCES persons, -- who stays
    other_id        uuid NOT NULL REFERENCES persons, -- who was merged into them
    duplicate_id    uuid REFERENCES duplicates,
    person_donor    uuid NOT NULL REFERENCES registrations, -- by which each of them was known
    other_donor     uuid NOT NULL REFERENCES registrations,
    region          text NOT NULL,
    fields          text[] NOT NULL,           -- what was taken from the other
    reason          text NOT NULL,
    snapshot_sealed bytea,                     -- sealed with the key of who stays
    merged_by       uuid NOT NULL REFERENCES staff,
    merged_at       timestamptz NOT NULL,
    undone_by       uuid REFERENCES staff,
    undone_at       timestamptz,
    undone_reason   text NOT NULL DEFAULT '',
    version         bigint NOT NULL DEFAULT 1
);
CREATE INDEX merges_into ON merges (person_id);
CREATE INDEX merges_of ON merges (other_id);
CREATE INDEX merges_person_donor ON merges (person_donor);
CREATE INDEX merges_other_donor ON merges (other_donor);
CREATE INDEX merges_from ON merges (duplicate_id) WHERE duplicate_id IS NOT NULL;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION reaches_person(wanted uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- Whoever was merged has no registration of their own any more: they are reached with whom they were merged into.
    RETURN EXISTS (SELECT FROM registrations WHERE person_id = wanted)
        OR EXISTS (WITH RECURSIVE stays(id) AS (
                SELECT person_id FROM merges WHERE other_id = wanted AND undone_at IS NULL
                UNION SELECT m.person_id FROM merges m JOIN stays s ON m.other_id = s.id AND m.undone_at IS NULL)
            SELECT FROM registrations r JOIN stays s ON s.id = r.person_id);
END $$;

DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    member     constant text := '(SELECT nullif(current_setting(''liferelay.staff'', true), '''')::uuid)';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['duplicates', 'region' || reach || ' OR person_region' || reach || ' OR other_region' || reach],
        ['merges', 'region' || reach],
        ['probes', 'staff_id = ' || member]
    ] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('CREATE POLICY reached ON %s USING (%s OR %s) WITH CHECK (true)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION reaches_person(wanted uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM registrations WHERE person_id = wanted);
END $$;
-- +goose StatementEnd
DROP TABLE merges, duplicates, probes;
ALTER TABLE registrations DROP COLUMN merged_into;
ALTER TABLE batches DROP COLUMN compared_to, DROP COLUMN compared_at;
ALTER TABLE staged_forms DROP COLUMN tail_index, DROP COLUMN phone_index;
ALTER TABLE persons DROP COLUMN phone_index;
ALTER TABLE person_documents DROP COLUMN tail_index;
