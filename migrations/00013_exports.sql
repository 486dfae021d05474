-- Exports of donors in clear: who asked for what and why, and what a second person decided. The sheet itself is made when it is
-- fetched, and kept nowhere; whose data was in it is in the audit.

-- +goose Up
CREATE TABLE exports (
    id              uuid PRIMARY KEY,
    staff_id        uuid NOT NULL REFERENCES staff,
    organisation_id uuid NOT NULL REFERENCES organisations,
    region          text NOT NULL,              -- of the donors
    filter          jsonb NOT NULL,             -- nothing that finds a person
    classes         text[] NOT NULL,            -- what is in clear
    purpose         text NOT NULL,
    reason_sealed   bytea,                      -- in the asker's own words
    rows            int NOT NULL,               -- when it was asked for
    asked_at        timestamptz NOT NULL,
    decide_by       timestamptz NOT NULL,
    verdict         text CHECK (verdict IN ('approved', 'refused')),
    decided_by      uuid REFERENCES staff,
    decided_at      timestamptz,
    note_sealed     bytea,
    until           timestamptz,                -- when it can be fetched no more
    withdrawn_at    timestamptz,
    fetches         int NOT NULL DEFAULT 0,
    fetched_at      timestamptz,
    version         bigint NOT NULL DEFAULT 1
);
CREATE INDEX exports_by ON exports (staff_id, id);
CREATE INDEX exports_worded ON exports (asked_at) WHERE reason_sealed IS NOT NULL;

-- One's own, and those of the regions in which one hears of things, as of emergency access.
ALTER TABLE exports ENABLE ROW LEVEL SECURITY;
ALTER TABLE exports FORCE ROW LEVEL SECURITY;
CREATE POLICY reached ON exports USING (
    (SELECT current_setting('liferelay.everywhere', true) = 'on')
    OR staff_id = (SELECT nullif(current_setting('liferelay.staff', true), '')::uuid)
    OR region <@ (SELECT nullif(current_setting('liferelay.watch', true), '')::region_ranges)) WITH CHECK (true);
REVOKE DELETE ON exports FROM liferelay_register;

-- +goose Down
DROP TABLE exports;
