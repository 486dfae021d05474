-- What those who look after a register keep in it: offices' own wordings of notices, the days that a region declares, how far the audit was
-- last verified, and when the installation's own work was last done. The audit gets the indexes by which people look for what is rare in it.

-- +goose Up
-- An office's own wording of a notice on a channel. That of the nearest region up the tree counts; what has none is told as it was shipped.
CREATE TABLE notice_templates (
    region      text NOT NULL REFERENCES regions,
    code        text NOT NULL,
    channel     text NOT NULL CHECK (channel IN ('screen', 'email', 'message')),
    locale      text NOT NULL CHECK (locale IN ('zh-CN', 'en')),
    text        text NOT NULL,              -- a sentence, with parameters such as {{.Number}}: about nobody
    version     bigint NOT NULL DEFAULT 1,  -- of both languages together
    changed_by  text NOT NULL,
    changed_at  timestamptz NOT NULL,
    PRIMARY KEY (region, code, channel, locale)
);
GRANT SELECT ON notice_templates TO liferelay_service; -- whoever sends notices does so outside of an act

ALTER TABLE calendar_days ADD COLUMN version bigint NOT NULL DEFAULT 1, ADD COLUMN changed_by text NOT NULL DEFAULT '', ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();

-- Walks over the chain of seals: asked for by somebody, done by whichever process comes first. One at a time.
CREATE TABLE audit_verifications (
    id          uuid PRIMARY KEY,
    asked_by    text NOT NULL,
    asked_at    timestamptz NOT NULL,
    beat_at     timestamptz,                -- when the process that walks was last heard of
    ended_at    timestamptz,
    done        bigint NOT NULL DEFAULT 0,
    total       bigint NOT NULL DEFAULT 0,
    report      jsonb,                      -- what was found; NULL while it goes on, and of a walk that failed
    failed      text NOT NULL DEFAULT ''    -- a code
);
CREATE UNIQUE INDEX audit_verifications_one ON audit_verifications ((true)) WHERE ended_at IS NULL;

-- When each piece of the installation's own work was last done, for those who look after it.
CREATE TABLE chores (
    name      text PRIMARY KEY,
    done_at   timestamptz,                  -- when it last ended well
    failed_at timestamptz,
    failed    text NOT NULL DEFAULT ''      -- a code
);
GRANT SELECT, INSERT, UPDATE ON chores TO liferelay_service;

-- What is rare has an index of its own: it costs nothing when an everyday row is written.
CREATE INDEX audit_by_office ON audit (organisation, recorded_at);
CREATE INDEX audit_refused ON audit (recorded_at, id) WHERE NOT allowed;
CREATE INDEX audit_sensitive ON audit (recorded_at, id) WHERE action IN ('reveal', 'export', 'breakglass');
CREATE INDEX emergency_access_at ON emergency_access (organisation_id, opened_at);

-- +goose Down
DROP INDEX emergency_access_at;
DROP INDEX audit_sensitive;
DROP INDEX audit_refused;
DROP INDEX audit_by_office;
DROP TABLE chores, audit_verifications;
ALTER TABLE calendar_days DROP COLUMN version, DROP COLUMN changed_by, DROP COLUMN changed_at;
DROP TABLE notice_templates;
