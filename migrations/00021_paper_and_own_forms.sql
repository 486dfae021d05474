-- Forms that do not come in a sheet: paper that is entered one form at a time, and forms that volunteers fill in on their own phones.

-- +goose Up
SET LOCAL liferelay.everywhere = 'on'; -- row policies hold the owner too

ALTER TABLE batches DROP CONSTRAINT batches_kind_check, ADD CONSTRAINT batches_kind_check CHECK (kind IN ('xlsx', 'csv', 'form', 'api', 'paper', 'own'));
ALTER TABLE registrations DROP CONSTRAINT registrations_channel_check, ADD CONSTRAINT registrations_channel_check CHECK (channel IN ('sheet', 'form', 'api', 'paper', 'own'));
ALTER TABLE batches
    ADD COLUMN started_at   timestamptz,           -- when the commit or the undo under way began, and how many rows were done before it
    ADD COLUMN started_rows int NOT NULL DEFAULT 0,
    ADD COLUMN counted_forms int,                  -- a stack of paper as it was counted when it was closed
    ADD COLUMN difference   text NOT NULL DEFAULT '', -- the coded name of a difference between the count and what was entered
    ADD COLUMN closed_at    timestamptz;

-- What is known of a form of a stack of paper beside its row. What is written on it is in the row's sealed cells; so is what was
-- read the second time, until the row is in the register.
CREATE TABLE paper_forms (
    batch_id     uuid NOT NULL REFERENCES batches,
    row_no       int NOT NULL,
    held         boolean NOT NULL DEFAULT false, -- it cannot be read, or must be asked about
    recruiter    uuid REFERENCES staff,          -- of the drive's team, who won this volunteer
    entered_by   uuid NOT NULL REFERENCES staff,
    entered_at   timestamptz NOT NULL,
    chosen       boolean NOT NULL DEFAULT false, -- for a second entry by somebody else
    second_by    uuid REFERENCES staff,
    second_at    timestamptz,
    differing    text[],                         -- the fields in which the two entries differed
    settled_by   uuid REFERENCES staff,
    settled_at   timestamptz,
    PRIMARY KEY (batch_id, row_no),
    CHECK (second_by IS NULL OR second_by <> entered_by)
);

-- The public address of a drive's form. Whoever has the token may begin a form; nobody else finds it.
CREATE TABLE drive_links (
    drive_id   uuid PRIMARY KEY REFERENCES drives,
    token      text NOT NULL UNIQUE,
    open       boolean NOT NULL,
    changed_by uuid NOT NULL REFERENCES staff,
    changed_at timestamptz NOT NULL
);

-- A form that a volunteer fills in. Its text is destroyed when it is in the register, and when its time is over.
CREATE TABLE own_forms (
    id           uuid PRIMARY KEY,
    drive_id     uuid NOT NULL REFERENCES drives,
    region       text NOT NULL,
    organisation_id uuid NOT NULL,
    code         text NOT NULL,          -- what the volunteer tells the table; good for nothing else
    secret_hash  bytea NOT NULL UNIQUE,  -- of what the volunteer's device keeps
    status       text NOT NULL CHECK (status IN ('draft', 'submitted', 'returned', 'taken', 'expired')),
    form_sealed  bytea,
    reason       text NOT NULL DEFAULT '', -- why it was sent back
    saved_at     timestamptz NOT NULL,
    submitted_at timestamptz,
    expires_at   timestamptz NOT NULL,
    seen         text NOT NULL DEFAULT '', -- the kind of document that it was held against
    outcome      text NOT NULL DEFAULT '',
    batch_id     uuid REFERENCES batches,
    decided_by   uuid REFERENCES staff,
    decided_at   timestamptz,
    version      bigint NOT NULL DEFAULT 1,
    UNIQUE (drive_id, code)
);
CREATE INDEX own_forms_of_drive ON own_forms (drive_id, status, submitted_at);
CREATE INDEX own_forms_of_batch ON own_forms (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX own_forms_to_expire ON own_forms (expires_at) WHERE form_sealed IS NOT NULL;

-- How often something was tried that must not be tried without end. It is about addresses and accounts, as keyed digests and ids.
CREATE TABLE tries (
    kind    text NOT NULL,
    subject text NOT NULL,
    hour    timestamptz NOT NULL,
    n       int NOT NULL,
    PRIMARY KEY (kind, subject, hour)
);

-- +goose StatementBegin
DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    office     constant text := '(SELECT nullif(current_setting(''liferelay.office'', true), '''')::uuid)';
    at_work    constant text := ' = ANY ((SELECT drives_at_work())::uuid[])';
    -- The drive whose public form a volunteer has open. An act says it for a volunteer, and for nobody else.
    own        constant text := '(SELECT nullif(current_setting(''liferelay.drive'', true), '''')::uuid)';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['paper_forms', 'EXISTS (SELECT FROM batches b WHERE b.id = paper_forms.batch_id)'],
        ['drive_links', 'drive_id = ' || own || ' OR EXISTS (SELECT FROM drives d WHERE d.id = drive_links.drive_id)'],
        ['own_forms', 'drive_id = ' || own || ' OR region' || reach || ' OR organisation_id = ' || office || ' OR drive_id' || at_work]
    ] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('CREATE POLICY reached ON %s USING (%s OR %s) WITH CHECK (true)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;

-- What a public form must know of its drive. The drive itself a volunteer does not reach, nor what hangs on it.
CREATE FUNCTION own_drive() RETURNS TABLE (region text, organisation_id uuid, first_day date, last_day date, at_work boolean) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
BEGIN
    PERFORM set_config('liferelay.everywhere', 'on', true);
    RETURN QUERY SELECT d.region, d.organisation_id, d.first_day, d.last_day, d.status IN ('planned', 'open', 'closed') FROM drives d WHERE d.id = nullif(current_setting('liferelay.drive', true), '')::uuid;
    PERFORM set_config('liferelay.everywhere', before, true);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION own_drive FROM PUBLIC;
GRANT EXECUTE ON FUNCTION own_drive TO liferelay_register;

-- +goose Down
SET LOCAL liferelay.everywhere = 'on';
DROP FUNCTION own_drive;
DROP TABLE tries, own_forms, drive_links, paper_forms;
-- +goose StatementBegin
DO $$
BEGIN
    -- What came in on paper or from a phone is in the register: the program before knows it as single forms.
    UPDATE batches SET kind = 'form' WHERE kind IN ('paper', 'own');
    UPDATE registrations SET channel = 'form' WHERE channel IN ('paper', 'own');
END $$;
-- +goose StatementEnd
ALTER TABLE batches DROP COLUMN started_at, DROP COLUMN started_rows, DROP COLUMN counted_forms, DROP COLUMN difference, DROP COLUMN closed_at;
ALTER TABLE batches DROP CONSTRAINT batches_kind_check, ADD CONSTRAINT batches_kind_check CHECK (kind IN ('xlsx', 'csv', 'form', 'api'));
ALTER TABLE registrations DROP CONSTRAINT registrations_channel_check, ADD CONSTRAINT registrations_channel_check CHECK (channel IN ('sheet', 'form', 'api'));
