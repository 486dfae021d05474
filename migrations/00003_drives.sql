-- Drives, the batches of forms that come in with them, the tubes that leave.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    -- RFC 9562 5.7: 48 bits of milliseconds, then random bits under the version and variant of a random UUID.
    SELECT encode(set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid
$$;

CREATE FUNCTION registration_number(region text, on_day date, serial bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Twelve digits, as the national programme's donor numbers have: province, year, serial, and two check digits of
    -- ISO 7064 MOD 97-10, so that a mistyped number is no other donor's.
    SELECT ((body + serial) * 100 + 98 - ((body + serial) * 100) % 97)::text
    FROM (SELECT (left(region, 2)::bigint * 100 + extract(year FROM on_day)::bigint % 100) * 1000000 AS body) province
$$;
-- +goose StatementEnd
CREATE TABLE drives (
    id              uuid PRIMARY KEY,
    number          text NOT NULL UNIQUE,
    name            text NOT NULL,
    place           text NOT NULL,
    region          text NOT NULL REFERENCES regions,
    organisation_id uuid NOT NULL REFERENCES organisations, -- the Red Cross office that runs it
    host_id         uuid REFERENCES organisations,
    laboratory_id   uuid REFERENCES organisations,          -- where its tubes go
    leader_id       uuid NOT NULL REFERENCES staff,
    first_day       date NOT NULL,
    last_day        date NOT NULL,
    target          int NOT NULL DEFAULT 0,
    barcode_from    text NOT NULL DEFAULT '',
    barcode_to      text NOT NULL DEFAULT '',
    status          text NOT NULL CHECK (status IN ('planned', 'open', 'closed', 'sent', 'reported', 'cancelled')),
    counted_forms   int,
    counted_tubes   int,
    counted_consents int,
    difference      text NOT NULL DEFAULT '',               -- the coded name of a difference between the counts
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (last_day >= first_day)
);
CREATE INDEX drives_by_region ON drives (region text_pattern_ops, first_day DESC);

CREATE TRIGGER drives_are_kept BEFORE DELETE OR TRUNCATE ON drives FOR EACH STATEMENT EXECUTE FUNCTION is_kept_for_good();

CREATE TABLE drive_team (
    drive_id uuid NOT NULL REFERENCES drives,
    staff_id uuid NOT NULL REFERENCES staff,
    duty     text NOT NULL CHECK (duty IN ('leader', 'registrar', 'phlebotomist', 'courier', 'volunteer')),
    PRIMARY KEY (drive_id, staff_id, duty)
);

-- One uploaded file. Its states: created → checked → committing → committed | cancelled; committed → undoing → undone.
CREATE TABLE batches (
    id              uuid PRIMARY KEY,
    number          text NOT NULL UNIQUE,
    drive_id        uuid REFERENCES drives,  -- NULL for forms entered outside a drive
    region          text NOT NULL REFERENCES regions,
    organisation_id uuid NOT NULL REFERENCES organisations,
    parent_id       uuid REFERENCES batches, -- the batch whose annotated workbook this is
    kind            text NOT NULL CHECK (kind IN ('xlsx', 'csv', 'form', 'api')),
    file_name_sealed bytea,
    file_sha256     bytea NOT NULL,
    file_sealed     bytea,
    encoding        text NOT NULL DEFAULT '',
    sheet           text NOT NULL DEFAULT '',
    mapping         jsonb NOT NULL DEFAULT '{}',
    expected_forms  int,
    status          text NOT NULL CHECK (status IN ('created', 'checked', 'committing', 'committed', 'cancelled', 'undoing', 'undone')),
    mode            text NOT NULL DEFAULT '' CHECK (mode IN ('', 'good_rows', 'all_or_nothing')),
    accept_warnings boolean NOT NULL DEFAULT false,
    file_problems   jsonb NOT NULL DEFAULT '[]',
    rows_total      int NOT NULL DEFAULT 0,
    verdicts        jsonb NOT NULL DEFAULT '{}',
    outcomes        jsonb NOT NULL DEFAULT '{}',
    next_row        int NOT NULL DEFAULT 0,  -- every row before it has been dealt with by the commit, or the undo
    lanes           jsonb NOT NULL DEFAULT '[]', -- the rows that are being committed, and the numbers set aside for them
    rows_settled    int NOT NULL DEFAULT 0,  -- rows of a mended workbook that were in the register already, and untouched
    defaults        jsonb NOT NULL DEFAULT '{}', -- what the cover says for every row
    options         jsonb NOT NULL DEFAULT '{}', -- what somebody set when a guess was wrong
    uploaded_by     uuid NOT NULL REFERENCES staff,
    committed_by    uuid REFERENCES staff,
    committed_at    timestamptz,
    swept_at        timestamptz,             -- when the file and what was staged of it were destroyed
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX batches_mended ON batches (parent_id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX batches_file ON batches (drive_id, file_sha256) WHERE status <> 'undone' AND swept_at IS NULL;
CREATE INDEX batches_of_drive ON batches (drive_id, id);
CREATE INDEX batches_unswept ON batches (id) WHERE swept_at IS NULL;
CREATE TRIGGER batches_are_kept BEFORE DELETE OR TRUNCATE ON batches FOR EACH STATEMENT EXECUTE FUNCTION is_kept_for_good();

-- One row of a file, with its verdict, what it is held against the register by, and what became of it. It is narrow, because
-- a commit writes to every one.
CREATE TABLE batch_rows (
    batch_id       uuid NOT NULL,
    row_no         int NOT NULL,             -- as the spreadsheet shows it: the header may be row 1
    row_key        bytea NOT NULL,           -- digest of the row's content, so that the same row is known again
    verdict        text NOT NULL CHECK (verdict IN ('ready', 'warning', 'error', 'duplicate', 'known')),
    known          boolean NOT NULL DEFAULT false, -- person_id is somebody the register had already
    outcome        text NOT NULL DEFAULT '' CHECK (outcome IN ('', 'created', 'updated', 'unchanged', 'linked', 'skipped', 'parked', 'failed')),
    problems       jsonb NOT NULL DEFAULT '[]', -- codes, fields and limits: nothing that was read
    ticked         boolean NOT NULL DEFAULT false,
    known_action   text NOT NULL DEFAULT '' CHECK (known_action IN ('', 'fill', 'skip')),
    person_id      uuid,                     -- who it is: somebody new, or, when known, the person found
    document_id    uuid,
    number_lookups bytea[],                  -- what the register is asked for, under every key, newest first; both go when
    likeness_lookups bytea[],                -- the row is in the register
    barcode        text,
    signed_on      date,
    programmes     text[],
    registration_ids uuid[],                 -- one for each programme, in its order
    specimen_id    uuid,
    donor_number   text,                     -- after the commit
    filled         text[],                   -- columns of a known person that the commit filled, for its undo
    PRIMARY KEY (batch_id, row_no)
) WITH (fillfactor = 70);                    -- room for the new version of a row on its own page

-- What a row would write to the register, sealed and ready to be copied. The rows that are in the register have none:
-- a row with a staged form is a row that can still be committed, and no other can.
CREATE TABLE staged_forms (
    batch_id       uuid NOT NULL,
    row_no         int NOT NULL,
    raw_sealed     bytea,                    -- the cells as read; NULL of somebody who was erased since
    sealed_for     uuid,                     -- whose cells the sealed columns are, when not yet those of the row's person_id
    region         text,
    key_wrapped    bytea,                    -- what the sealed columns below are sealed with
    name_sealed    bytea,
    phone_sealed   bytea,
    profile_sealed bytea,
    document_kind  text,
    number_sealed  bytea,
    number_index   bytea,                    -- under the newest key
    index_version  smallint,
    birth_date     date,
    sex            text,
    abo            text,
    rh             text,
    ethnicity      text,
    height_cm      smallint,
    weight_kg      smallint,
    consent_texts  text[],                   -- the wording signed for each programme
    cooling_off_until date,
    intent         text,
    choices        text[],
    on_paper       boolean,
    scan_ref       text,
    drawn_on       date,
    tubes          smallint,
    millilitres    real,
    PRIMARY KEY (batch_id, row_no)
);

-- A guess at the columns that somebody corrected, remembered for the next file of the same host.
CREATE TABLE column_mappings (
    organisation_id uuid NOT NULL REFERENCES organisations,
    header          text NOT NULL,
    field           text NOT NULL,
    used_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organisation_id, header)
);

CREATE TABLE specimens (
    id              uuid PRIMARY KEY,
    barcode         text NOT NULL UNIQUE,
    kind            text NOT NULL CHECK (kind IN ('enrolment', 'confirmatory')),
    person_id       uuid NOT NULL,
    registration_id uuid NOT NULL REFERENCES registrations,
    case_id         uuid,
    drive_id        uuid,
    drawn_on        date NOT NULL,
    tubes           smallint NOT NULL DEFAULT 1,
    millilitres     real,
    status          text NOT NULL CHECK (status IN ('drawn', 'sent', 'received', 'rejected', 'missing', 'typed', 'undone')),
    reason          text NOT NULL DEFAULT '',
    holder_id       uuid NOT NULL, -- who has it now
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX specimens_of_registration ON specimens (registration_id);
CREATE INDEX specimens_of_drive ON specimens (drive_id) WHERE drive_id IS NOT NULL;

-- A box of tubes under way. Both sides sign; what left and what arrived are counted tube by tube.
CREATE TABLE consignments (
    id           uuid PRIMARY KEY,
    number       text NOT NULL UNIQUE,
    drive_id     uuid REFERENCES drives,
    from_id      uuid NOT NULL REFERENCES organisations,
    to_id        uuid NOT NULL REFERENCES organisations,
    status       text NOT NULL CHECK (status IN ('sent', 'received')),
    sent_at      timestamptz NOT NULL,
    sent_by      uuid NOT NULL REFERENCES staff,
    received_at  timestamptz,
    received_by  uuid REFERENCES staff,
    photo_ref    text NOT NULL DEFAULT '', -- the photographed list
    version      bigint NOT NULL DEFAULT 1
);

CREATE TABLE custody (
    id             uuid PRIMARY KEY,
    specimen_id    uuid NOT NULL REFERENCES specimens,
    consignment_id uuid REFERENCES consignments,
    from_id        uuid NOT NULL REFERENCES organisations,
    to_id          uuid NOT NULL REFERENCES organisations,
    at             timestamptz NOT NULL,
    condition      text NOT NULL CHECK (condition IN ('sent', 'good', 'haemolysed', 'short', 'label_mismatch', 'expired', 'missing')),
    signed_by      uuid NOT NULL REFERENCES staff
);
CREATE INDEX custody_of ON custody (specimen_id, at);

CREATE TABLE typings (
    id              uuid PRIMARY KEY,
    person_id       uuid NOT NULL REFERENCES persons,
    registration_id uuid NOT NULL REFERENCES registrations,
    specimen_id     uuid NOT NULL REFERENCES specimens,
    case_id         uuid,
    laboratory_id   uuid NOT NULL REFERENCES organisations,
    kind            text NOT NULL CHECK (kind IN ('enrolment', 'confirmatory')),
    method          text NOT NULL,
    nomenclature    text NOT NULL,    -- release of the IPD-IMGT/HLA database, such as 3.57.0
    gl_string       text NOT NULL,
    typed_on        date NOT NULL,
    current         boolean NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX typings_of_specimen ON typings (specimen_id);
CREATE INDEX typings_of_person ON typings (person_id);
CREATE INDEX typings_of_registration ON typings (registration_id);

-- +goose Down
DROP FUNCTION registration_number, uuid_v7;
DROP TABLE typings, custody, consignments, specimens, column_mappings, staged_forms, batch_rows, batches, drive_team, drives;
