-- The papers of a case, each on one side of it, and the second look at an undo that comes late.

-- +goose Up
CREATE TABLE attachments (
    id              uuid PRIMARY KEY,
    case_id         uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    task_id         uuid REFERENCES tasks ON DELETE CASCADE,
    side            text NOT NULL CHECK (side IN ('donor', 'patient')), -- whom it is about, and who may see it
    organisation_id uuid NOT NULL REFERENCES organisations,             -- whose office brought it
    key_of          uuid NOT NULL,             -- the person or the patient whose key seals it
    media           text NOT NULL CHECK (media IN ('application/pdf', 'image/jpeg', 'image/png')),
    bytes           int NOT NULL,
    name_sealed     bytea,                     -- NULL, as is the body, once it was removed or its person erased
    body_sealed     bytea,
    staff_id        uuid NOT NULL REFERENCES staff,
    uploaded_at     timestamptz NOT NULL,
    removed_by      uuid REFERENCES staff,
    removed_at      timestamptz,
    removed_for     text NOT NULL DEFAULT '',
    version         bigint NOT NULL DEFAULT 1
);
-- What is sealed does not get smaller.
ALTER TABLE attachments ALTER COLUMN body_sealed SET STORAGE EXTERNAL;
CREATE INDEX attachments_of ON attachments (case_id, uploaded_at);
CREATE INDEX attachments_of_task ON attachments (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX attachments_about ON attachments (key_of);

-- An undo that comes late is asked for by one and decided by another. It is about the case as it stood: once the case has
-- moved, it is about nothing.
CREATE TABLE reopenings (
    id           uuid PRIMARY KEY,
    case_id      uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    case_version bigint NOT NULL,
    step         text NOT NULL,
    reason       text NOT NULL,
    asked_by     uuid NOT NULL REFERENCES staff,
    asked_at     timestamptz NOT NULL,
    verdict      text CHECK (verdict IN ('approved', 'refused')),
    decided_by   uuid REFERENCES staff,
    decided_at   timestamptz,
    version      bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX reopenings_asked_once ON reopenings (case_id, case_version, step);

-- Whose rows an act reaches, as in 00006_second_wall.sql. A paper is its side's alone: who sits on the patient's side of the
-- table reaches the patient's, everybody else who reaches the case reaches the donor's.
-- +goose StatementBegin
CREATE FUNCTION reaches_side(wanted uuid, of_side text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.office', true), '');
BEGIN
    RETURN EXISTS (SELECT FROM cases WHERE id = wanted)
        AND EXISTS (SELECT FROM case_parties WHERE case_id = wanted AND organisation_id = office AND side = 'patient') = (of_side = 'patient');
END $$;

DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['attachments', 'reaches_side(case_id, side)'],
        ['reopenings', 'reaches_case(case_id)']
    ] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('CREATE POLICY reached ON %s USING (%s OR %s) WITH CHECK (true)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE reopenings, attachments;
DROP FUNCTION reaches_side;
