-- Patients and searches, and the cases: who is asked what, what they answered, what happened.

-- +goose Up
CREATE TABLE patients (
    id              uuid PRIMARY KEY,
    number          text NOT NULL UNIQUE,      -- the pseudonym; who it is, only the hospital knows
    organisation_id uuid NOT NULL REFERENCES organisations,
    key_wrapped     bytea,                     -- NULL once the patient was erased
    reference_sealed bytea,                    -- the hospital's own reference
    birth_year      smallint NOT NULL,         -- 0 once the patient was erased, as is the weight
    sex             text NOT NULL CHECK (sex IN ('male', 'female')),
    diagnosis       text NOT NULL,             -- ICD-10
    weight_kg       real NOT NULL,
    abo             text,
    rh              text,
    cmv             text,
    urgency         text NOT NULL CHECK (urgency IN ('routine', 'urgent', 'critical')),
    gl_string       text NOT NULL,
    nomenclature    text NOT NULL,
    consent_on      date NOT NULL,             -- when the patient agreed to the search
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX patients_of ON patients (organisation_id, id);

CREATE TABLE searches (
    id              uuid PRIMARY KEY,
    number          text NOT NULL UNIQUE,
    patient_id      uuid NOT NULL REFERENCES patients,
    organisation_id uuid NOT NULL REFERENCES organisations,
    region          text NOT NULL REFERENCES regions,
    policy          text NOT NULL,             -- the named policy: loci and mismatches allowed
    status          text NOT NULL CHECK (status IN ('open', 'requested', 'closed')),
    run             int NOT NULL DEFAULT 0,
    compared        int NOT NULL DEFAULT 0,    -- donors compared by the last run
    last_run_at     timestamptz,
    closed_reason   text NOT NULL DEFAULT '',
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX searches_of ON searches (organisation_id, id);

-- Donor and patient meet only in this schema; a later role of its own reads it.
CREATE SCHEMA link;

CREATE TABLE link.candidates (
    search_id       uuid NOT NULL REFERENCES searches,
    registration_id uuid NOT NULL REFERENCES registrations,
    run             int NOT NULL,              -- the last run that found it
    rank            int NOT NULL,
    matched         smallint NOT NULL,
    of              smallint NOT NULL,
    grades          jsonb NOT NULL,            -- by locus: matched, possible
    change          text NOT NULL CHECK (change IN ('new', 'same', 'lost')),
    PRIMARY KEY (search_id, registration_id)
);
CREATE INDEX candidates_who ON link.candidates (registration_id);

-- A hospital's request for a donor: the two sides of a case.
CREATE TABLE link.requests (
    case_id         uuid PRIMARY KEY,
    search_id       uuid NOT NULL REFERENCES searches,
    patient_id      uuid NOT NULL REFERENCES patients,
    registration_id uuid NOT NULL REFERENCES registrations,
    rank            smallint NOT NULL,         -- 1 is the primary, the rest are backups
    promoted_at     timestamptz                -- when it became the one that is worked on
);
CREATE INDEX requests_for ON link.requests (registration_id);
CREATE INDEX requests_of_search ON link.requests (search_id);

-- One open request for a donor at a time, whoever asks.
CREATE TABLE reservations (
    id              uuid PRIMARY KEY,
    registration_id uuid NOT NULL REFERENCES registrations,
    case_id         uuid NOT NULL,
    reserved_at     timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    released_at     timestamptz,
    reason          text NOT NULL DEFAULT ''
);
CREATE INDEX reservations_of ON reservations (registration_id);
CREATE UNIQUE INDEX reservations_one_open ON reservations (registration_id) WHERE released_at IS NULL;
CREATE UNIQUE INDEX reservations_of_case ON reservations (case_id);

CREATE TABLE cases (
    id              uuid PRIMARY KEY,
    number          text NOT NULL UNIQUE,      -- SC-2026-000123
    protocol        text NOT NULL CHECK (protocol IN ('enrolment', 'drive', 'search', 'stemcell', 'care', 'safety')),
    subject_id      uuid NOT NULL,             -- the registration, drive, search, plan or case that it is about
    region          text NOT NULL, -- the office that answers for it
    organisation_id uuid NOT NULL,
    status          text NOT NULL CHECK (status IN ('open', 'ended')),
    step            text NOT NULL,
    ending          text NOT NULL DEFAULT '',
    reason          text NOT NULL DEFAULT '',
    state           jsonb NOT NULL,            -- codes and dates that the protocol goes on from
    rules           text NOT NULL DEFAULT '',  -- the rule packs of the last decision
    version         bigint NOT NULL DEFAULT 1,
    opened_at       timestamptz NOT NULL,
    ended_at        timestamptz
);
-- An enrolment has its registration's id, and needs no index to be found by it.
CREATE INDEX cases_about ON cases (subject_id) WHERE protocol <> 'enrolment';

-- Who sits at the table of a case: an organisation for each seat, and the side it is on.
CREATE TABLE case_parties (
    case_id         uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    seat            text NOT NULL,
    side            text NOT NULL CHECK (side IN ('donor', 'patient', 'office')),
    organisation_id uuid NOT NULL REFERENCES organisations,
    PRIMARY KEY (case_id, seat)
);
CREATE INDEX case_parties_at ON case_parties (organisation_id);

-- Who is asked what, by when. A row is one question to one seat.
CREATE TABLE tasks (
    id              uuid PRIMARY KEY,
    case_id         uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    step            text NOT NULL,
    round           int NOT NULL,
    seat            text NOT NULL,
    role            text NOT NULL,             -- the role that may answer
    organisation_id uuid REFERENCES organisations, -- the organisation that may; NULL is any office of the region
    region          text NOT NULL REFERENCES regions,
    assignee_id     uuid REFERENCES staff,
    status          text NOT NULL CHECK (status IN ('open', 'done', 'expired', 'cancelled', 'struck')),
    level           smallint NOT NULL DEFAULT 0, -- how many rungs it was escalated
    opened_at       timestamptz NOT NULL,
    due_at          timestamptz NOT NULL,
    provisional     boolean NOT NULL DEFAULT false, -- due over days whose calendar is not published yet
    reminded_at     timestamptz,
    closed_at       timestamptz,
    answer_id       uuid,
    args            jsonb NOT NULL DEFAULT '{}', -- codes and dates that the question names
    version         bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX tasks_asked_once ON tasks (case_id, step, round, seat);
CREATE INDEX tasks_open_at ON tasks (organisation_id, due_at, id) WHERE status = 'open';
CREATE INDEX tasks_open_in ON tasks (role, region text_pattern_ops, due_at, id) WHERE status = 'open';

-- What somebody answered. Stored as pending before the case is moved, so that nothing is typed twice.
CREATE TABLE answers (
    id           uuid PRIMARY KEY,
    task_id      uuid NOT NULL REFERENCES tasks ON DELETE CASCADE,
    case_id      uuid NOT NULL,
    actor        text NOT NULL,
    staff_id     uuid REFERENCES staff,
    command      text NOT NULL,                -- the caller's idempotency key
    outcome      jsonb NOT NULL,               -- codes and dates
    key_of       uuid,                         -- whose key seals the form: a person's or a patient's; NULL is the installation's
    form_sealed  bytea NOT NULL,               -- the whole form, with its free text
    status       text NOT NULL CHECK (status IN ('pending', 'accepted', 'refused', 'superseded', 'struck')),
    refused_code text NOT NULL DEFAULT '',
    purpose      text NOT NULL DEFAULT '',
    next_at      timestamptz,                  -- when the relay tries to deliver a pending answer again
    created_at   timestamptz NOT NULL DEFAULT now(),
    decided_at   timestamptz
);
CREATE UNIQUE INDEX answers_command ON answers (task_id, actor, command);
CREATE UNIQUE INDEX answers_accepted_once ON answers (task_id) WHERE status = 'accepted';
CREATE INDEX answers_pending ON answers (next_at) WHERE status = 'pending';

-- Every attempt to reach a donor, one by one.
CREATE TABLE contact_attempts (
    id          uuid PRIMARY KEY,
    case_id     uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    at          timestamptz NOT NULL,
    channel     text NOT NULL CHECK (channel IN ('phone', 'message', 'mail', 'visit')),
    whom        text NOT NULL CHECK (whom IN ('donor', 'contact')),
    result      text NOT NULL CHECK (result IN ('reached', 'no_answer', 'wrong_number', 'will_call_back', 'refused_to_talk')),
    key_of      uuid NOT NULL,                 -- the donor, whose key seals the note
    note_sealed bytea,
    staff_id    uuid NOT NULL REFERENCES staff,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX contact_attempts_of ON contact_attempts (case_id, at);

-- The timeline. recorded_at is when the row was written; at is when it happened, on the case's clock.
CREATE TABLE events (
    id              uuid NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    at              timestamptz NOT NULL,
    code            text NOT NULL,
    case_id         uuid,
    person_id       uuid,
    registration_id uuid,
    drive_id        uuid,
    search_id       uuid,
    actor           text NOT NULL,
    args            jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE TABLE events_other PARTITION OF events DEFAULT;
CREATE INDEX events_of_case ON events (case_id, at) WHERE case_id IS NOT NULL;
CREATE INDEX events_of_registration ON events (registration_id, at) WHERE registration_id IS NOT NULL;
CREATE INDEX events_of_drive ON events (drive_id, at) WHERE drive_id IS NOT NULL;

-- What somebody should know. How it travels (mail, message) is decided by whoever sends it.
CREATE TABLE notices (
    id              uuid PRIMARY KEY,
    code            text NOT NULL,
    args            jsonb NOT NULL DEFAULT '{}',
    organisation_id uuid REFERENCES organisations,
    role            text NOT NULL DEFAULT '',
    region          text NOT NULL REFERENCES regions,
    staff_id        uuid REFERENCES staff,
    case_id         uuid,
    task_id         uuid,
    urgent          boolean NOT NULL DEFAULT false,
    dedupe          text NOT NULL UNIQUE,
    at              timestamptz NOT NULL,
    read_at         timestamptz,
    read_by         uuid REFERENCES staff,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notices_at ON notices (organisation_id, created_at DESC);
CREATE INDEX notices_in ON notices (region text_pattern_ops, created_at DESC);

CREATE TABLE donations (
    id              uuid PRIMARY KEY,
    person_id       uuid NOT NULL REFERENCES persons,
    registration_id uuid NOT NULL REFERENCES registrations,
    case_id         uuid NOT NULL,
    programme       text NOT NULL,
    product         text NOT NULL,             -- HPC-A, DLI, whole blood …
    day             smallint NOT NULL,
    collected_on    date NOT NULL,
    hospital_id     uuid NOT NULL REFERENCES organisations,
    volume_ml       real NOT NULL,
    cd34_e6         real,                      -- total CD34+ cells, millions
    mnc_e8          real,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX donations_of_registration ON donations (registration_id);
CREATE UNIQUE INDEX donations_day ON donations (case_id, day);
CREATE INDEX donations_of ON donations (person_id);

CREATE TABLE certificates (
    id         uuid PRIMARY KEY,
    number     text NOT NULL UNIQUE,
    kind       text NOT NULL CHECK (kind IN ('donation', 'leave_letter', 'honour')),
    person_id  uuid NOT NULL REFERENCES persons,
    case_id    uuid NOT NULL,
    region     text NOT NULL REFERENCES regions,
    nth        int,                            -- the county's Nth donor
    issued_on  date NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX certificates_of ON certificates (person_id);
CREATE UNIQUE INDEX certificates_once ON certificates (case_id, kind);

CREATE TABLE care_plans (
    id              uuid PRIMARY KEY,
    case_id         uuid NOT NULL REFERENCES cases,  -- the case that the plan follows
    person_id       uuid NOT NULL REFERENCES persons,
    registration_id uuid NOT NULL REFERENCES registrations,
    template        text NOT NULL,
    region          text NOT NULL REFERENCES regions,
    starts_on       date NOT NULL,
    status          text NOT NULL CHECK (status IN ('active', 'paused', 'opted_out', 'completed')),
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX care_plans_of ON care_plans (person_id);
CREATE INDEX care_plans_of_registration ON care_plans (registration_id);
CREATE UNIQUE INDEX care_plans_of_case ON care_plans (case_id, template);

CREATE TABLE touches (
    id          uuid PRIMARY KEY,
    plan_id     uuid NOT NULL REFERENCES care_plans,
    position    smallint NOT NULL,
    key         text NOT NULL,
    due_on      date NOT NULL,
    status      text NOT NULL CHECK (status IN ('planned', 'asked', 'answered', 'missed', 'cancelled')),
    flags       text[] NOT NULL DEFAULT '{}',
    answered_on date,
    UNIQUE (plan_id, position)
);

-- +goose Down
DROP TABLE touches, care_plans, certificates, donations, notices, events, contact_attempts, answers, tasks, case_parties,
    cases, reservations, link.requests, link.candidates, searches, patients;
DROP SCHEMA link;
