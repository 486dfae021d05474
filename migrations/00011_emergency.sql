-- Emergency access, reveals and the daily brake, over the tables that the second wall made for them.

-- +goose Up
-- Whoever supervises the person reviews, too: the region of the person's office is written beside the donor's.
ALTER TABLE emergency_access ADD COLUMN office_region text;
UPDATE emergency_access e SET office_region = o.region FROM organisations o WHERE o.id = e.organisation_id;
ALTER TABLE emergency_access ALTER COLUMN office_region SET NOT NULL;
-- What was written about somebody goes when they are erased.
ALTER TABLE emergency_access ALTER COLUMN reason_sealed DROP NOT NULL;
CREATE INDEX emergency_access_by ON emergency_access (staff_id, until);
ALTER POLICY reached ON emergency_access USING (
    (SELECT current_setting('liferelay.everywhere', true) = 'on')
    OR staff_id = (SELECT nullif(current_setting('liferelay.staff', true), '')::uuid)
    OR region <@ (SELECT nullif(current_setting('liferelay.watch', true), '')::region_ranges)
    OR office_region <@ (SELECT nullif(current_setting('liferelay.watch', true), '')::region_ranges));

-- Who signs in hears with every answer that a lease of theirs is open. Whose it is of the donors, and why, the service does not see.
GRANT SELECT (staff_id, until, closed_at) ON emergency_access TO liferelay_service;
CREATE POLICY running ON emergency_access FOR SELECT TO liferelay_service USING (true);

-- What was shown in clear, of whom, to whom and why: the audit is read by others, and holds no text.
CREATE TABLE reveals (
    id              uuid PRIMARY KEY,
    staff_id        uuid NOT NULL REFERENCES staff,
    registration_id uuid NOT NULL REFERENCES registrations,
    person_id       uuid NOT NULL REFERENCES persons,
    revealed_at     timestamptz NOT NULL,
    fields          text[] NOT NULL,
    reason          text NOT NULL,
    note_sealed     bytea               -- with the person's key
);
CREATE INDEX reveals_by ON reveals (staff_id, revealed_at);
CREATE INDEX reveals_of ON reveals (registration_id, revealed_at);
CREATE INDEX reveals_of_person ON reveals (person_id);
ALTER TABLE reveals ENABLE ROW LEVEL SECURITY;
ALTER TABLE reveals FORCE ROW LEVEL SECURITY;
CREATE POLICY reached ON reveals USING (
    (SELECT current_setting('liferelay.everywhere', true) = 'on')
    OR staff_id = (SELECT nullif(current_setting('liferelay.staff', true), '')::uuid)
    OR reaches_donor(registration_id)) WITH CHECK (true);
REVOKE UPDATE, DELETE ON reveals FROM liferelay_register;

-- +goose Down
DROP TABLE reveals;
DROP POLICY running ON emergency_access;
REVOKE SELECT (staff_id, until, closed_at) ON emergency_access FROM liferelay_service;
ALTER POLICY reached ON emergency_access USING (
    (SELECT current_setting('liferelay.everywhere', true) = 'on')
    OR staff_id = (SELECT nullif(current_setting('liferelay.staff', true), '')::uuid)
    OR region <@ (SELECT nullif(current_setting('liferelay.watch', true), '')::region_ranges));
DROP INDEX emergency_access_by;
DELETE FROM emergency_access WHERE reason_sealed IS NULL;
ALTER TABLE emergency_access ALTER COLUMN reason_sealed SET NOT NULL;
ALTER TABLE emergency_access DROP COLUMN office_region;
