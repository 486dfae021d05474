-- Regions, organisations, staff and what they may do; what the rules and calendars are; the keyring's fingerprint.

-- +goose Up

-- One row of facts about this installation.
CREATE TABLE installation (
    only_row            boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    keyring_fingerprint text NOT NULL,
    suite               text NOT NULL CHECK (suite IN ('aes', 'sm')), -- what values are sealed with
    key_generation      bigint NOT NULL, -- of the key file: a process whose file is older must not look anybody up
    created_at          timestamptz NOT NULL DEFAULT now()
);

-- GB/T 2260 down to the county, current and historic; towns and villages may be added by an office.
CREATE TABLE regions (
    code        text PRIMARY KEY CHECK (code ~ '^(\d{6}|\d{9}|\d{12})$'),
    name        text NOT NULL,
    valid_from  smallint,
    valid_until smallint
);

CREATE TABLE organisations (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('red_cross', 'laboratory', 'hospital', 'blood_station', 'host', 'receiver')),
    name       text NOT NULL,
    name_en    text NOT NULL DEFAULT '',
    region     text NOT NULL REFERENCES regions,
    parent_id  uuid REFERENCES organisations,
    active     boolean NOT NULL DEFAULT true,
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX organisations_by_region ON organisations (region text_pattern_ops);

-- +goose StatementBegin
CREATE FUNCTION is_kept_for_good() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: rows of other tables name these, and are not checked one by one', TG_OP, TG_TABLE_NAME;
END $$;
-- +goose StatementEnd

-- Regions, organisations, drives, batches and consent texts are never removed. The tables that sheets fill by the thousand name them
-- without a foreign key: its check for every row is a large part of a commit's time.
CREATE TRIGGER regions_are_kept BEFORE DELETE OR TRUNCATE ON regions FOR EACH STATEMENT EXECUTE FUNCTION is_kept_for_good();
CREATE TRIGGER organisations_are_kept BEFORE DELETE OR TRUNCATE ON organisations FOR EACH STATEMENT EXECUTE FUNCTION is_kept_for_good();

-- Regions that an organisation serves though it lies in another: an organ procurement organisation's hospitals.
CREATE TABLE service_areas (
    organisation_id uuid NOT NULL REFERENCES organisations,
    region          text NOT NULL REFERENCES regions,
    PRIMARY KEY (organisation_id, region)
);

CREATE TABLE staff (
    id              uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations,
    login           text NOT NULL,
    display_name    text NOT NULL,
    locale          text NOT NULL DEFAULT 'zh-CN' CHECK (locale IN ('zh-CN', 'en')),
    password_hash   text NOT NULL,
    failed_signins  int NOT NULL DEFAULT 0,
    locked_until    timestamptz,
    active          boolean NOT NULL DEFAULT true,
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX staff_login ON staff (lower(login));

-- What a signed-in person or machine carries. Only the token's hash is kept.
CREATE TABLE sessions (
    token_hash   bytea PRIMARY KEY,
    staff_id     uuid NOT NULL REFERENCES staff,
    kind         text NOT NULL CHECK (kind IN ('browser', 'bearer')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz
);
CREATE INDEX sessions_of_staff ON sessions (staff_id) WHERE revoked_at IS NULL;

CREATE TABLE role_grants (
    id         uuid PRIMARY KEY,
    staff_id   uuid NOT NULL REFERENCES staff,
    role       text NOT NULL,
    region     text NOT NULL REFERENCES regions,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    until      timestamptz NOT NULL,
    revoked_by text,
    revoked_at timestamptz
);
CREATE INDEX role_grants_in_force ON role_grants (staff_id) WHERE revoked_at IS NULL;

-- Every transaction that decides reads the revision, so that no process decides with grants that have changed.
CREATE TABLE policy_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO policy_revision (revision) VALUES (1);

-- +goose StatementBegin
CREATE FUNCTION bump_policy_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE policy_revision SET revision = revision + 1;
    NOTIFY policy_changed;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER role_grants_bump AFTER INSERT OR UPDATE OR DELETE ON role_grants
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();
CREATE TRIGGER staff_bump AFTER UPDATE OF active ON staff
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();

-- Days that differ from the embedded calendar: a local holiday, or next year's notice before a release carries it.
CREATE TABLE calendar_days (
    region  text NOT NULL REFERENCES regions,
    day     date NOT NULL,
    working boolean NOT NULL,
    name    text NOT NULL DEFAULT '',
    source  text NOT NULL DEFAULT '',
    PRIMARY KEY (region, day)
);

-- Which rule packs this installation has run with, so that a decision's version can be looked up years later.
CREATE TABLE rule_pack_versions (
    pack       text NOT NULL,
    region     text NOT NULL,
    version    text NOT NULL,
    valid_from date NOT NULL,
    sha256     text NOT NULL,
    loaded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pack, region, version, sha256)
);

-- The wordings that people signed, kept for good.
CREATE TABLE consent_texts (
    version    text PRIMARY KEY,
    kind       text NOT NULL,
    valid_from date NOT NULL,
    text_zh    text NOT NULL,
    text_en    text NOT NULL,
    sha256     text NOT NULL
);

CREATE TRIGGER consent_texts_are_kept BEFORE DELETE OR TRUNCATE ON consent_texts FOR EACH STATEMENT EXECUTE FUNCTION is_kept_for_good();

-- Running numbers: cases, searches, drives by year; the Nth donor of a county.
CREATE TABLE counters (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION next_number(counter text, how_many bigint DEFAULT 1) RETURNS bigint LANGUAGE sql AS $$
    -- Returns the first of how_many numbers that now belong to the caller.
    INSERT INTO counters (name, value) VALUES (counter, how_many)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + how_many
    RETURNING value - how_many + 1;
$$;
-- +goose StatementEnd

-- What a command did, by its key: a retry finds its first answer here.
CREATE TABLE command_log (
    key        text PRIMARY KEY,
    result     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Answers of the API by idempotency key, for a day. The answer may hold masked personal data, and is sealed.
CREATE TABLE idempotency_keys (
    staff_id    uuid NOT NULL,
    key         text NOT NULL,
    route       text NOT NULL,
    body_sha256 bytea NOT NULL,
    status      int,          -- NULL while the first request is being answered
    header      jsonb,
    row_id      uuid NOT NULL,
    body_sealed bytea,
    done_at     timestamptz,  -- when the request's act was committed, in its own transaction
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (staff_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- What the workflows must be told, in the transaction that made it true. The relay delivers and marks.
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL,
    targets      uuid[] NOT NULL,
    payload      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    attempts     int NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    last_error   text,
    delivered_at timestamptz
);
CREATE INDEX outbox_waiting ON outbox (next_at, id) WHERE delivered_at IS NULL;

-- +goose StatementBegin
CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY outbox;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox();

-- +goose Down
DROP TABLE outbox, idempotency_keys, command_log, counters, consent_texts, rule_pack_versions, calendar_days,
    policy_revision, role_grants, sessions, staff, service_areas, organisations, regions, installation CASCADE;
DROP FUNCTION notify_outbox, next_number, bump_policy_revision, is_kept_for_good;
