-- How people and machines sign in: second factors, sign-ins half done, single sign-on, tokens of machines, and what is known of a
-- session.

-- +goose Up
ALTER TABLE staff
    ADD COLUMN kind text NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'machine')),  -- a machine has tokens and no password
    ADD COLUMN must_change_password boolean NOT NULL DEFAULT false,  -- somebody else has seen the password
    ADD COLUMN totp_sealed bytea,                -- the shared secret; bound to this row
    ADD COLUMN totp_since  timestamptz,          -- when it was confirmed with a code; nothing counts before
    ADD COLUMN totp_step   bigint NOT NULL DEFAULT 0;  -- of the last code that was taken: none is taken twice
COMMENT ON COLUMN staff.failed_signins IS 'unused: see signin_locks';
COMMENT ON COLUMN staff.locked_until IS 'unused: see signin_locks';

-- Codes for whoever has lost the telephone, each good once. The digest is keyed.
CREATE TABLE recovery_codes (
    staff_id    uuid NOT NULL REFERENCES staff,
    code_digest bytea NOT NULL,
    used_at     timestamptz,
    PRIMARY KEY (staff_id, code_digest)
);

-- Failed sign-ins by the login that was typed, whether or not somebody has it: that a login is locked tells nobody that it exists.
CREATE TABLE signin_locks (
    login_digest   bytea PRIMARY KEY,            -- keyed
    failed         int NOT NULL DEFAULT 0,       -- in a row, since the last lock
    locks          int NOT NULL DEFAULT 0,       -- in a row: each is twice as long as the one before
    locked_until   timestamptz,
    last_failed_at timestamptz NOT NULL
);

-- A sign-in that waits for its second factor. It is in a table of its own, so that nothing can take it for a session.
CREATE TABLE signins_half_done (
    token_hash bytea PRIMARY KEY,
    staff_id   uuid NOT NULL REFERENCES staff,
    kind       text NOT NULL CHECK (kind IN ('browser', 'bearer')),
    life       interval NOT NULL,                -- of the session that it becomes
    method     text NOT NULL CHECK (method IN ('password', 'oidc')),
    provider_session bytea,
    failed     int NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL
);

ALTER TABLE sessions
    ADD COLUMN id uuid NOT NULL DEFAULT uuid_v7(),  -- what its owner names it by
    ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now(),  -- to the minute
    ADD COLUMN method text NOT NULL DEFAULT 'password' CHECK (method IN ('password', 'oidc')),
    ADD COLUMN factor text NOT NULL DEFAULT '' CHECK (factor IN ('', 'totp', 'recovery', 'provider')),  -- the second one
    ADD COLUMN agent   text NOT NULL DEFAULT '',
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN provider_session bytea;           -- SHA-256 of issuer and sid, for a sign-out that begins at the provider
CREATE UNIQUE INDEX sessions_id ON sessions (id);

-- Tokens of machines, and those that people made for programs of theirs.
CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY,
    token_hash   bytea NOT NULL UNIQUE,
    staff_id     uuid NOT NULL REFERENCES staff,
    name         text NOT NULL,
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,                    -- to the minute
    revoked_by   text,
    revoked_at   timestamptz
);
CREATE INDEX api_tokens_of_staff ON api_tokens (staff_id);

-- Who of us somebody at a provider of single sign-on is.
CREATE TABLE staff_identities (
    issuer    text NOT NULL,
    subject   text NOT NULL,
    staff_id  uuid NOT NULL REFERENCES staff,
    linked_by text NOT NULL,
    linked_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX staff_identities_of_staff ON staff_identities (staff_id);

-- A browser that was sent to the provider and is not back yet. It brings the secret again of which only the hash is here.
CREATE TABLE signons_under_way (
    state_hash   bytea PRIMARY KEY,
    browser_hash bytea NOT NULL,
    return_to    text NOT NULL,
    expires_at   timestamptz NOT NULL
);

-- They are the service's: nobody is an actor yet while they are read and written.
GRANT SELECT, INSERT, UPDATE, DELETE ON recovery_codes, signin_locks, signins_half_done, api_tokens, staff_identities, signons_under_way TO liferelay_service;

-- +goose Down
DROP TABLE signons_under_way, staff_identities, api_tokens, signins_half_done, signin_locks, recovery_codes;
ALTER TABLE sessions DROP COLUMN id, DROP COLUMN last_seen_at, DROP COLUMN method, DROP COLUMN factor, DROP COLUMN agent, DROP COLUMN address, DROP COLUMN provider_session;
ALTER TABLE staff DROP COLUMN kind, DROP COLUMN must_change_password, DROP COLUMN totp_sealed, DROP COLUMN totp_since, DROP COLUMN totp_step;
