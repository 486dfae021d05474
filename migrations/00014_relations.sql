-- Three ways of standing to a record that are neither place nor case: shared with us for a time, in the area that our organisation
-- serves, in the team of a drive.

-- +goose Up
SET LOCAL liferelay.everywhere = 'on'; -- row policies hold the owner too

-- The donor's region stands beside the share, as it does beside a sample: the rule about shares must not lead to registrations,
-- whose rule leads here.
ALTER TABLE shares ADD COLUMN region text, ADD COLUMN ended_by uuid REFERENCES staff;
UPDATE shares s SET region = r.region FROM registrations r WHERE r.id = s.registration_id;
ALTER TABLE shares ALTER COLUMN region SET NOT NULL;
CREATE INDEX shares_with ON shares (organisation_id, until) WHERE ended_at IS NULL;
CREATE INDEX drive_team_of ON drive_team (staff_id);

-- Whom an organisation serves is decided with the grants, and is as fresh as they are; so is where somebody works.
CREATE TRIGGER service_areas_bump AFTER INSERT OR UPDATE OR DELETE ON service_areas
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();
CREATE TRIGGER staff_moved_bump AFTER UPDATE OF organisation_id ON staff
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();

-- Whoever sits down on the patient's side of a donor's case has nothing of that donor shared with them from then on.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION seat_at_table() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
BEGIN
    -- Whoever seats somebody may not reach the case until they sit at it themselves.
    PERFORM set_config('liferelay.everywhere', 'on', true);
    UPDATE cases c SET sites = p.sites, donor_sites = p.donor_sites
    FROM (SELECT array_agg(DISTINCT organisation_id) AS sites, coalesce(array_agg(DISTINCT organisation_id) FILTER (WHERE side = 'donor'), '{}') AS donor_sites
        FROM case_parties WHERE case_id = NEW.case_id) p
    WHERE c.id = NEW.case_id;
    IF NEW.side = 'patient' THEN
        UPDATE shares s SET ended_at = now() FROM cases c
        WHERE c.id = NEW.case_id AND s.registration_id = c.subject_id AND s.organisation_id = NEW.organisation_id AND s.ended_at IS NULL;
    END IF;
    PERFORM set_config('liferelay.everywhere', before, true);
    RETURN NULL;
END $$;

-- Besides what 00006 names, an act says liferelay.shared, its office, and liferelay.team, its member of staff: each only where a role
-- of the actor's may do anything with what is shared, or in a team.
CREATE FUNCTION donors_shared() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.shared', true), '');
BEGIN
    RETURN ARRAY(SELECT registration_id FROM shares WHERE organisation_id = office AND until > now() AND ended_at IS NULL);
END $$;

CREATE OR REPLACE FUNCTION donors_reached_otherwise() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.office', true), '');
    member uuid := nullif(current_setting('liferelay.staff', true), '');
BEGIN
    -- Those whose open case the office sits at, on the donor's side; those that somebody opened in an emergency; those that are
    -- shared with the office.
    RETURN donors_shared() || ARRAY(
        SELECT subject_id FROM cases WHERE protocol <> 'enrolment' AND status = 'open' AND donor_sites @> ARRAY[office]
        UNION ALL SELECT registration_id FROM emergency_access WHERE staff_id = member AND until > now() AND closed_at IS NULL);
END $$;

CREATE FUNCTION drives_in_team() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    member uuid := nullif(current_setting('liferelay.team', true), '');
BEGIN
    RETURN ARRAY(SELECT drive_id FROM drive_team WHERE staff_id = member);
END $$;

CREATE FUNCTION drives_at_work() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    member uuid := nullif(current_setting('liferelay.team', true), '');
BEGIN
    -- A team is one until the tubes have left.
    RETURN ARRAY(SELECT d.id FROM drive_team t JOIN drives d ON d.id = t.drive_id WHERE t.staff_id = member AND d.status IN ('planned', 'open', 'closed'));
END $$;

-- See 00006 for how these are written. The rule about drives asks who is in a team, and the rule about teams lets everybody read
-- where they are themselves without asking about drives: so neither leads back to where it began.
DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    office     constant text := '(SELECT nullif(current_setting(''liferelay.office'', true), '''')::uuid)';
    member     constant text := '(SELECT nullif(current_setting(''liferelay.staff'', true), '''')::uuid)';
    shared     constant text := ' = ANY ((SELECT donors_shared())::uuid[])';
    at_work    constant text := ' = ANY ((SELECT drives_at_work())::uuid[])';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['shares', 'region' || reach || ' OR organisation_id = ' || office],
        ['drive_team', 'staff_id = ' || member || ' OR EXISTS (SELECT FROM drives g WHERE g.id = drive_team.drive_id)'],
        ['drives', 'region' || reach || ' OR ' || office || ' IN (organisation_id, host_id, laboratory_id)'
            || ' OR status IN (''planned'', ''open'', ''closed'') AND id = ANY ((SELECT drives_in_team())::uuid[])'],
        ['batches', 'region' || reach || ' OR organisation_id = ' || office || ' OR drive_id' || at_work],
        ['specimens', 'region' || reach || ' OR holder_id = ' || office || ' OR registration_id' || shared || ' OR drive_id' || at_work],
        ['cases', 'region' || reach || ' OR ' || office || ' = ANY (sites) OR subject_id' || shared],
        ['registrations', 'region' || reach || ' OR id = ANY ((SELECT donors_reached_otherwise())::uuid[]) OR drive_id' || at_work]
    ] LOOP
        EXECUTE format('ALTER POLICY reached ON %s USING (%s OR %s)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    office     constant text := '(SELECT nullif(current_setting(''liferelay.office'', true), '''')::uuid)';
    member     constant text := '(SELECT nullif(current_setting(''liferelay.staff'', true), '''')::uuid)';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['shares', 'organisation_id = ' || office || ' OR shared_by = ' || member],
        ['drive_team', 'EXISTS (SELECT FROM drives g WHERE g.id = drive_team.drive_id)'],
        ['drives', 'region' || reach || ' OR ' || office || ' IN (organisation_id, host_id, laboratory_id)'],
        ['batches', 'region' || reach || ' OR organisation_id = ' || office],
        ['specimens', 'region' || reach || ' OR holder_id = ' || office],
        ['cases', 'region' || reach || ' OR ' || office || ' = ANY (sites)'],
        ['registrations', 'region' || reach || ' OR id = ANY ((SELECT donors_reached_otherwise())::uuid[])']
    ] LOOP
        EXECUTE format('ALTER POLICY reached ON %s USING (%s OR %s)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION seat_at_table() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
BEGIN
    PERFORM set_config('liferelay.everywhere', 'on', true);
    UPDATE cases c SET sites = p.sites, donor_sites = p.donor_sites
    FROM (SELECT array_agg(DISTINCT organisation_id) AS sites, coalesce(array_agg(DISTINCT organisation_id) FILTER (WHERE side = 'donor'), '{}') AS donor_sites
        FROM case_parties WHERE case_id = NEW.case_id) p
    WHERE c.id = NEW.case_id;
    PERFORM set_config('liferelay.everywhere', before, true);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION donors_reached_otherwise() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.office', true), '');
    member uuid := nullif(current_setting('liferelay.staff', true), '');
BEGIN
    RETURN ARRAY(
        SELECT subject_id FROM cases WHERE protocol <> 'enrolment' AND status = 'open' AND donor_sites @> ARRAY[office]
        UNION ALL SELECT registration_id FROM shares WHERE organisation_id = office AND until > now() AND ended_at IS NULL
        UNION ALL SELECT registration_id FROM emergency_access WHERE staff_id = member AND until > now() AND closed_at IS NULL);
END $$;
-- +goose StatementEnd
DROP FUNCTION donors_shared, drives_in_team, drives_at_work;
DROP TRIGGER service_areas_bump ON service_areas;
DROP TRIGGER staff_moved_bump ON staff;
DROP INDEX shares_with, drive_team_of;
ALTER TABLE shares DROP COLUMN region, DROP COLUMN ended_by;
