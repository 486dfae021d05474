-- People, their documents, what they registered for, what they signed.
-- Columns that end in _sealed hold ciphertext bound to their table, column and row; key_wrapped is the key that a person's
-- are sealed with, wrapped; columns that end in _index hold keyed digests. All are made by the application and mean nothing
-- without its key file. A person without a key was erased: what is sealed of them opens no more, and what would tell who
-- they were is NULL.

-- +goose Up
CREATE TABLE persons (
    id             uuid PRIMARY KEY,
    region         text NOT NULL, -- where the person lives, else where they registered
    key_wrapped    bytea,         -- NULL once the person was erased
    name_sealed    bytea NOT NULL,
    phone_sealed   bytea,
    profile_sealed bytea,         -- address, mail, workplace, emergency contacts
    likeness_index bytea,         -- name, birth date and phone together: finds possible duplicates
    index_version  smallint NOT NULL,
    birth_date     date,
    sex            text CHECK (sex IN ('male', 'female')),
    abo            text CHECK (abo IN ('A', 'B', 'O', 'AB')),
    rh             text CHECK (rh IN ('positive', 'negative')),
    ethnicity      text,
    height_cm      smallint,
    weight_kg      smallint,
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'merged', 'deceased')),
    merged_into    uuid REFERENCES persons,
    deceased_on    date,
    last_contact   date,          -- the last time the person themselves was reached
    version        bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    erased_at      timestamptz,
    CHECK ((key_wrapped IS NULL) = (erased_at IS NOT NULL)),
    CHECK (erased_at IS NOT NULL OR birth_date IS NOT NULL AND sex IS NOT NULL)
);
CREATE INDEX persons_merged ON persons (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX persons_by_likeness ON persons (likeness_index);

CREATE TABLE person_documents (
    id            uuid PRIMARY KEY,
    person_id     uuid NOT NULL REFERENCES persons ON DELETE CASCADE,
    kind          text NOT NULL,
    number_sealed bytea NOT NULL,
    number_index  bytea,          -- NULL once the person was erased
    index_version smallint NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX person_documents_number ON person_documents (number_index);
CREATE INDEX person_documents_of ON person_documents (person_id);

-- One row for each programme a person decided about: a wish to give, or a refusal.
CREATE TABLE registrations (
    id                uuid PRIMARY KEY,
    number            text NOT NULL,
    person_id         uuid NOT NULL REFERENCES persons,
    programme         text NOT NULL CHECK (programme IN ('stemcell', 'blood', 'organ', 'cornea', 'body')),
    intent            text NOT NULL CHECK (intent IN ('wish', 'refusal')),
    choices           text[] NOT NULL DEFAULT '{}', -- which organs
    status            text NOT NULL CHECK (status IN ('registered', 'enrolling', 'listed', 'unavailable', 'withdrawn', 'left', 'undone')),
    status_reason     text NOT NULL DEFAULT '',
    unavailable_until date,
    region            text NOT NULL, -- the office that answers for it
    organisation_id   uuid NOT NULL,
    channel           text NOT NULL CHECK (channel IN ('sheet', 'form', 'api')),
    drive_id          uuid,
    batch_id          uuid,
    registered_on     date NOT NULL,
    cooling_off_until date,
    listed_on         date,
    withdrawn_at      timestamptz,
    version           bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX registrations_number ON registrations (number);
-- One live registration of a person in each programme; those that are over stand beside it under their own ids. One index
-- also finds what a person has.
CREATE UNIQUE INDEX registrations_one_each ON registrations (person_id, programme, (CASE WHEN status IN ('withdrawn', 'left', 'undone') THEN id ELSE person_id END));
CREATE INDEX registrations_by_region ON registrations (region text_pattern_ops, programme, id);
CREATE INDEX registrations_of_drive ON registrations (drive_id) WHERE drive_id IS NOT NULL;
CREATE INDEX registrations_listed ON registrations (id) WHERE programme = 'stemcell' AND status = 'listed';

CREATE TABLE consents (
    id               uuid PRIMARY KEY,
    person_id        uuid NOT NULL,
    registration_id  uuid REFERENCES registrations,
    case_id          uuid,
    kind             text NOT NULL,
    text_version     text NOT NULL,
    text_sha256      text NOT NULL,
    signed_on        date NOT NULL,
    on_paper         boolean NOT NULL,
    scan_ref         text NOT NULL DEFAULT '',
    witness_id       uuid REFERENCES staff,
    withdrawn_at     timestamptz,
    withdrawn_via    text,
    withdrawn_reason text,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX consents_of_registration ON consents (registration_id);
CREATE INDEX consents_of_case ON consents (case_id) WHERE case_id IS NOT NULL;

-- Why a person may not give for a while, or ever. Only the coded reason: never a laboratory's values.
CREATE TABLE deferrals (
    id         uuid PRIMARY KEY,
    person_id  uuid NOT NULL REFERENCES persons,
    programme  text NOT NULL,
    reason     text NOT NULL,
    from_day   date NOT NULL,
    until_day  date,           -- NULL is for good
    source     text NOT NULL,  -- task, station, self
    case_id    uuid,
    lifted_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deferrals_of ON deferrals (person_id);

-- +goose Down
DROP TABLE deferrals, consents, registrations, person_documents, persons;
