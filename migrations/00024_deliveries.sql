-- How notices leave the house: where staff are reached, what they want to hear of and when, the webhooks of other systems, and every
-- delivery with what became of it.

-- +goose Up
CREATE TABLE contact_points (
    id             uuid PRIMARY KEY,
    staff_id       uuid NOT NULL REFERENCES staff,
    channel        text NOT NULL CHECK (channel IN ('email', 'message')),
    address_sealed bytea NOT NULL,
    code_sealed    bytea,                    -- what was sent there, until it comes back
    code_at        timestamptz,
    tries          smallint NOT NULL DEFAULT 0,
    verified_at    timestamptz,              -- nothing but the code goes to an address that is not
    created_at     timestamptz NOT NULL,
    UNIQUE (staff_id, channel)
);
-- Everybody reaches their own.
ALTER TABLE contact_points ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_points FORCE ROW LEVEL SECURITY;
CREATE POLICY reached ON contact_points USING (
    (SELECT current_setting('liferelay.everywhere', true) = 'on')
    OR staff_id = (SELECT nullif(current_setting('liferelay.staff', true), '')::uuid)) WITH CHECK (true);

CREATE TABLE notice_preferences (
    staff_id    uuid PRIMARY KEY REFERENCES staff,
    mail        text NOT NULL CHECK (mail IN ('digest', 'urgent', 'off')),
    sms         text NOT NULL CHECK (sms IN ('urgent', 'off')),
    quiet_from  smallint CHECK (quiet_from BETWEEN 0 AND 1439),   -- minutes since midnight; the office's when absent
    quiet_until smallint CHECK (quiet_until BETWEEN 0 AND 1439),
    CHECK ((quiet_from IS NULL) = (quiet_until IS NULL))
);

-- The secret is the installation's to sign with, so it is kept, sealed.
CREATE TABLE webhooks (
    id              uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations,
    region          text NOT NULL REFERENCES regions,
    name            text NOT NULL,
    url             text NOT NULL,
    codes           text[] NOT NULL,
    secret_sealed   bytea NOT NULL,
    disabled_at     timestamptz,
    disabled_for    text NOT NULL DEFAULT '' CHECK (disabled_for IN ('', 'administrator', 'gone')),
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    version         bigint NOT NULL DEFAULT 1
);
CREATE INDEX webhooks_of ON webhooks (organisation_id);
-- They are about nobody, and administrators, who reach no donor by place, keep them: the row policy guards against other acts.
ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;
CREATE POLICY reached ON webhooks USING ((SELECT current_setting('liferelay.everywhere', true) = 'on') OR (SELECT current_setting('liferelay.staff', true) <> '')) WITH CHECK (true);

-- gathered waits for the day's digest; waiting for next_at, which is also the lease of who took it.
CREATE TABLE deliveries (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('notice', 'digest', 'code', 'ping')),
    channel    text NOT NULL CHECK (channel IN ('email', 'message', 'webhook')),
    code       text NOT NULL,                -- of the notice
    notice_id  uuid REFERENCES notices,
    staff_id   uuid REFERENCES staff,
    webhook_id uuid REFERENCES webhooks ON DELETE CASCADE,
    urgent     boolean NOT NULL,
    state      text NOT NULL CHECK (state IN ('gathered', 'waiting', 'delivered', 'dead', 'dropped')),
    outcome    text NOT NULL DEFAULT '',     -- of the last attempt: a code
    attempts   int NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL,
    digest_id  uuid REFERENCES deliveries ON DELETE SET NULL,
    digest_on  date,                         -- the day of a digest, of which there is one for each person
    created_at timestamptz NOT NULL,
    done_at    timestamptz,
    CHECK ((staff_id IS NULL) <> (webhook_id IS NULL))
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (notice_id, staff_id, channel) WHERE staff_id IS NOT NULL AND kind = 'notice';
CREATE UNIQUE INDEX deliveries_hook_once ON deliveries (notice_id, webhook_id) WHERE webhook_id IS NOT NULL AND kind = 'notice';
CREATE UNIQUE INDEX deliveries_digest_once ON deliveries (staff_id, digest_on) WHERE kind = 'digest';
CREATE UNIQUE INDEX deliveries_digest_waits ON deliveries (staff_id) WHERE kind = 'digest' AND state = 'waiting';
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_gathered ON deliveries (staff_id) WHERE state = 'gathered';
CREATE INDEX deliveries_of_digest ON deliveries (digest_id) WHERE digest_id IS NOT NULL;
CREATE INDEX deliveries_newest ON deliveries (created_at DESC, id DESC);
CREATE INDEX deliveries_old ON deliveries (done_at) WHERE done_at IS NOT NULL;

-- Notices of before are not sent after the fact.
ALTER TABLE notices ADD COLUMN spread_at timestamptz;
UPDATE notices SET spread_at = created_at;
CREATE INDEX notices_unspread ON notices (created_at, id) WHERE spread_at IS NULL;

-- What a certificate on paper is known to be genuine by: it stands in its square, and nobody guesses it.
ALTER TABLE certificates ADD COLUMN proof uuid NOT NULL DEFAULT gen_random_uuid();

-- +goose Down
ALTER TABLE certificates DROP COLUMN proof;
ALTER TABLE notices DROP COLUMN spread_at;
DROP TABLE deliveries, webhooks, notice_preferences, contact_points;
