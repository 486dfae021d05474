-- The second wall: the program's acts connect as roles that own nothing, and the database itself lets through only the rows
-- that the actor's office reaches, whatever the program asks for.
--
-- Roles, none of which can sign in: liferelay_service is what a connection is outside of an act, and sees no person;
-- liferelay_register is what an act is; liferelay_intake adds the staging tables, liferelay_link the schema in which donor
-- and patient meet, liferelay_audit the reading of the audit; liferelay_system is for acts of the system's own that need both. The role that a service signs in with may become each of them and
-- has nothing of its own: liferelay migrate makes it.
--
-- Where an act reaches is set in its transaction by the one helper that begins it (registry/wall.go): liferelay.reach, the
-- regions; liferelay.watch, where the actor hears of things without reaching people; liferelay.office and liferelay.staff, whose act it is; liferelay.everywhere, for the protocols. Unset, they reach nothing.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    -- Roles belong to the whole server: another register on it may have made them, or be making them now.
    FOREACH name IN ARRAY ARRAY['liferelay_service', 'liferelay_register', 'liferelay_intake', 'liferelay_link', 'liferelay_audit', 'liferelay_system'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    FOR attempt IN 1 .. 50 LOOP
        BEGIN
            IF NOT pg_has_role('liferelay_system', 'liferelay_link', 'USAGE') THEN
                GRANT liferelay_register TO liferelay_intake, liferelay_link, liferelay_audit;
                GRANT liferelay_intake, liferelay_link TO liferelay_system;
            END IF;
            IF NOT pg_has_role(current_user, 'liferelay_system', 'MEMBER') THEN
                EXECUTE format('GRANT liferelay_service, liferelay_register, liferelay_intake, liferelay_link, liferelay_audit, liferelay_system TO %I', current_user);
            END IF;
            EXIT;
        EXCEPTION WHEN internal_error OR unique_violation THEN -- another database's migration grants the same at this moment
            IF attempt = 50 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.05);
        END;
    END LOOP;
END $$;
-- +goose StatementEnd

CREATE TYPE region_range AS RANGE (SUBTYPE = text, COLLATION = "C", MULTIRANGE_TYPE_NAME = region_ranges);

-- Who a record is shared with for a time, beside those whom its place gives it to.
CREATE TABLE shares (
    id              uuid PRIMARY KEY,
    registration_id uuid NOT NULL REFERENCES registrations,
    organisation_id uuid NOT NULL REFERENCES organisations,
    reason          text NOT NULL,
    shared_by       uuid NOT NULL REFERENCES staff,
    shared_at       timestamptz NOT NULL,
    until           timestamptz NOT NULL,
    ended_at        timestamptz
);
CREATE INDEX shares_of ON shares (registration_id);

-- Emergency access (break-glass): who opened what of whom, why, until when, and what the review said.
CREATE TABLE emergency_access (
    id              uuid PRIMARY KEY,
    staff_id        uuid NOT NULL REFERENCES staff,
    organisation_id uuid NOT NULL REFERENCES organisations,
    registration_id uuid NOT NULL REFERENCES registrations,
    region          text NOT NULL,              -- of the donor
    classes         text[] NOT NULL,
    category        text NOT NULL,
    reason_sealed   bytea NOT NULL,             -- in the person's own words
    opened_at       timestamptz NOT NULL,
    until           timestamptz NOT NULL,
    closed_at       timestamptz,                -- given back before its time
    review_due      timestamptz NOT NULL,
    reminded_at     timestamptz,
    reviewed_by     uuid REFERENCES staff,
    reviewed_at     timestamptz,
    verdict         text CHECK (verdict IN ('justified', 'not_justified')),
    note_sealed     bytea,
    version         bigint NOT NULL DEFAULT 1
);
CREATE INDEX emergency_access_of ON emergency_access (registration_id, staff_id, until);
CREATE INDEX emergency_access_open ON emergency_access (review_due) WHERE verdict IS NULL;

-- How many different donors somebody opened in a day.
CREATE TABLE openings (
    staff_id        uuid NOT NULL REFERENCES staff,
    day             date NOT NULL,
    registration_id uuid NOT NULL,
    PRIMARY KEY (staff_id, day, registration_id)
);

-- What one side of a case writes to the other. It names nobody: what looks as if it did is held until somebody has read it.
CREATE TABLE link.messages (
    id           uuid PRIMARY KEY,
    case_id      uuid NOT NULL REFERENCES cases,
    side         text NOT NULL CHECK (side IN ('donor', 'patient')), -- whose words they are
    staff_id     uuid NOT NULL REFERENCES staff,
    text_sealed  bytea NOT NULL,
    findings     text[] NOT NULL DEFAULT '{}',                       -- codes of what was found in it
    status       text NOT NULL CHECK (status IN ('held', 'delivered', 'refused')),
    written_at   timestamptz NOT NULL,
    decided_by   uuid REFERENCES staff,
    decided_at   timestamptz,
    version      bigint NOT NULL DEFAULT 1
);
CREATE INDEX messages_of ON link.messages (case_id, written_at);
CREATE INDEX messages_held ON link.messages (written_at) WHERE status = 'held';

-- Everybody at the table of a case, and those on the donor's side of it, beside the case: a rule about rows must not have to
-- look the table up for each.
ALTER TABLE cases ADD COLUMN sites uuid[] NOT NULL DEFAULT '{}', ADD COLUMN donor_sites uuid[] NOT NULL DEFAULT '{}';
UPDATE cases c SET sites = p.all_sites, donor_sites = p.donor_sites
FROM (SELECT case_id, array_agg(organisation_id) AS all_sites, coalesce(array_agg(organisation_id) FILTER (WHERE side = 'donor'), '{}') AS donor_sites FROM case_parties GROUP BY case_id) p
WHERE p.case_id = c.id;
-- +goose StatementBegin
CREATE FUNCTION seat_at_table() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
BEGIN
    -- Whoever seats somebody may not reach the case until they sit at it themselves.
    PERFORM set_config('liferelay.everywhere', 'on', true);
    UPDATE cases c SET sites = p.sites, donor_sites = p.donor_sites
    FROM (SELECT array_agg(DISTINCT organisation_id) AS sites, coalesce(array_agg(DISTINCT organisation_id) FILTER (WHERE side = 'donor'), '{}') AS donor_sites
        FROM case_parties WHERE case_id = NEW.case_id) p
    WHERE c.id = NEW.case_id;
    PERFORM set_config('liferelay.everywhere', before, true);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER case_parties_seated AFTER INSERT OR UPDATE ON case_parties FOR EACH ROW EXECUTE FUNCTION seat_at_table();

-- A sample's region is that of the office that answers for its donor. Like the sites, it is written beside the row.
ALTER TABLE specimens ADD COLUMN region text;
UPDATE specimens s SET region = r.region FROM registrations r WHERE r.id = s.registration_id;
ALTER TABLE specimens ALTER COLUMN region SET NOT NULL;

-- What each role may touch. A later migration's tables are the register's by default; a test wants a row policy on each that is
-- about somebody.
GRANT USAGE ON SCHEMA public TO liferelay_service, liferelay_register;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO liferelay_register;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO liferelay_register, liferelay_service;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO liferelay_register;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO liferelay_register, liferelay_service;

REVOKE ALL ON batch_rows, staged_forms FROM liferelay_register;
GRANT SELECT, INSERT, UPDATE, DELETE ON batch_rows, staged_forms TO liferelay_intake;

GRANT USAGE ON SCHEMA link TO liferelay_link;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA link TO liferelay_link;

-- The service's own: who signs in, what waits, what the installation is.
GRANT SELECT ON installation, goose_db_version, regions, organisations, service_areas, role_grants, policy_revision, calendar_days TO liferelay_service;
GRANT SELECT, UPDATE ON staff TO liferelay_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, idempotency_keys, outbox TO liferelay_service;

-- Whose answer it is, to act in their name when the desk brings it.
GRANT SELECT (id, staff_id) ON answers TO liferelay_service;
CREATE POLICY author ON answers FOR SELECT TO liferelay_service USING (true);

-- The audit is added to by everybody, read by one role, changed by none.
-- +goose StatementBegin
DO $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN ('audit'::regclass, 'events'::regclass) LOOP
        EXECUTE format('REVOKE ALL ON %s FROM liferelay_register', part);
    END LOOP;
END $$;
-- +goose StatementEnd
REVOKE ALL ON audit, audit_unsealed, audit_seals FROM liferelay_register;
GRANT INSERT ON audit TO liferelay_service, liferelay_register;
GRANT SELECT ON audit, audit_unsealed, audit_seals TO liferelay_service, liferelay_audit;
GRANT INSERT ON audit_seals TO liferelay_service;
GRANT DELETE ON audit_unsealed TO liferelay_service;
ALTER FUNCTION audit_awaits_seal SECURITY DEFINER SET search_path = public;

-- Partitions are made ahead by the owner's function, because a service owns nothing; a partition is nobody's by itself.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION ensure_partitions(from_month date, months int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    parent text;
    month  date;
    made   int := 0;
    child  text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['audit', 'events'] LOOP
        FOR i IN 0 .. months - 1 LOOP
            month := (date_trunc('month', from_month) + make_interval(months => i))::date;
            child := parent || '_' || to_char(month, 'YYYY_MM');
            IF to_regclass(child) IS NULL THEN
                BEGIN
                    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                        month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
                    EXECUTE format('REVOKE ALL ON %I FROM liferelay_register', child);
                    IF parent = 'audit' THEN
                        EXECUTE format('CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()', child);
                    END IF;
                    made := made + 1;
                EXCEPTION WHEN check_violation THEN
                    NULL; -- rows of that month are in the default partition already; they stay there
                END;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- Measuring a table needs its owner, too.
CREATE FUNCTION measure_staged() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    ANALYZE batch_rows (batch_id, row_no, outcome), staged_forms (batch_id, row_no);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION ensure_partitions, measure_staged FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions, measure_staged TO liferelay_service;

-- The rows that each act reaches. A subselect makes PostgreSQL read a setting once a statement and not once a row. Whoever adds a
-- row may add any: what must not happen is that a foreign row comes out, or is changed.
--
-- Rules that lead from one table to the next are functions: a rule that is written out is planned anew, with all the rules
-- behind it, in every statement. They run as their caller, so what they find is what the caller reaches.
-- +goose StatementBegin
CREATE FUNCTION reaches_case(wanted uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM cases WHERE id = wanted);
END $$;

CREATE FUNCTION reaches_donor(wanted uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM registrations WHERE id = wanted);
END $$;

CREATE FUNCTION reaches_person(wanted uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM registrations WHERE person_id = wanted);
END $$;

CREATE FUNCTION reaches_event(of_case uuid, of_registration uuid, of_person uuid, of_drive uuid, of_search uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM cases WHERE id = of_case) OR EXISTS (SELECT FROM registrations WHERE id = of_registration)
        OR EXISTS (SELECT FROM registrations WHERE person_id = of_person) OR EXISTS (SELECT FROM drives WHERE id = of_drive)
        OR EXISTS (SELECT FROM searches WHERE id = of_search);
END $$;

CREATE FUNCTION reaches_candidate(wanted uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- A hospital's search shows it the donors that fit, by what its report says of them.
    RETURN EXISTS (SELECT FROM link.candidates k JOIN searches s ON s.id = k.search_id WHERE k.registration_id = wanted);
END $$;

CREATE FUNCTION donors_reached_otherwise() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.office', true), '');
    member uuid := nullif(current_setting('liferelay.staff', true), '');
BEGIN
    -- Those whose open case the office sits at, on the donor's side; those that are shared with it; those that somebody opened
    -- in an emergency.
    RETURN ARRAY(
        SELECT subject_id FROM cases WHERE protocol <> 'enrolment' AND status = 'open' AND donor_sites @> ARRAY[office]
        UNION ALL SELECT registration_id FROM shares WHERE organisation_id = office AND until > now() AND ended_at IS NULL
        UNION ALL SELECT registration_id FROM emergency_access WHERE staff_id = member AND until > now() AND closed_at IS NULL);
END $$;

DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    watch      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.watch'', true), '''')::region_ranges)';
    office     constant text := '(SELECT nullif(current_setting(''liferelay.office'', true), '''')::uuid)';
    member     constant text := '(SELECT nullif(current_setting(''liferelay.staff'', true), '''')::uuid)';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        -- No rule may lead back to the table that it is about.
        ['cases', 'region' || reach || ' OR ' || office || ' = ANY (sites)'],
        ['searches', 'organisation_id = ' || office],
        ['patients', 'organisation_id = ' || office],
        ['specimens', 'region' || reach || ' OR holder_id = ' || office],
        ['drives', 'region' || reach || ' OR ' || office || ' IN (organisation_id, host_id, laboratory_id)'],
        ['batches', 'region' || reach || ' OR organisation_id = ' || office],
        ['shares', 'organisation_id = ' || office || ' OR shared_by = ' || member],
        ['emergency_access', 'staff_id = ' || member || ' OR region' || watch],
        ['openings', 'staff_id = ' || member],
        ['notices', 'region' || watch || ' OR organisation_id = ' || office || ' OR staff_id = ' || member],
        ['registrations', 'region' || reach || ' OR id = ANY ((SELECT donors_reached_otherwise())::uuid[])'],
        ['persons', 'reaches_person(id)'],
        ['person_documents', 'reaches_person(person_id)'],
        ['deferrals', 'reaches_person(person_id)'],
        ['certificates', 'reaches_person(person_id)'],
        ['consents', 'reaches_person(person_id) OR reaches_case(case_id)'],
        ['typings', 'laboratory_id = ' || office || ' OR reaches_donor(registration_id)'],
        ['reservations', 'reaches_donor(registration_id)'],
        ['donations', 'reaches_donor(registration_id)'],
        ['care_plans', 'reaches_donor(registration_id)'],
        ['touches', 'EXISTS (SELECT FROM care_plans g WHERE g.id = touches.plan_id)'],
        ['case_parties', 'organisation_id = ' || office || ' OR reaches_case(case_id)'],
        ['tasks', 'region' || reach || ' OR organisation_id = ' || office || ' OR reaches_case(case_id)'],
        ['answers', 'reaches_case(case_id)'],
        ['contact_attempts', 'reaches_case(case_id)'],
        ['drive_team', 'EXISTS (SELECT FROM drives g WHERE g.id = drive_team.drive_id)'],
        ['consignments', office || ' IN (from_id, to_id) OR EXISTS (SELECT FROM drives g WHERE g.id = consignments.drive_id)'],
        ['custody', office || ' IN (from_id, to_id) OR EXISTS (SELECT FROM specimens g WHERE g.id = custody.specimen_id)'],
        ['events', 'reaches_event(case_id, registration_id, person_id, drive_id, search_id)'],
        ['link.candidates', 'EXISTS (SELECT FROM searches g WHERE g.id = candidates.search_id)'],
        ['link.requests', 'EXISTS (SELECT FROM searches g WHERE g.id = requests.search_id) OR reaches_case(case_id)'],
        ['link.messages', 'reaches_case(case_id)']
    ] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('CREATE POLICY reached ON %s USING (%s OR %s) WITH CHECK (true)', rule[1], everywhere, rule[2]);
    END LOOP;
    CREATE POLICY candidate ON registrations FOR SELECT TO liferelay_link USING (reaches_candidate(id));
END $$;
-- +goose StatementEnd
CREATE INDEX cases_at_site ON cases USING gin (donor_sites) WHERE protocol <> 'enrolment' AND status = 'open';

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT schemaname, tablename, policyname FROM pg_policies WHERE schemaname IN ('public', 'link') LOOP
        EXECUTE format('DROP POLICY %I ON %I.%I', r.policyname, r.schemaname, r.tablename);
        EXECUTE format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY', r.schemaname, r.tablename);
        EXECUTE format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY', r.schemaname, r.tablename);
    END LOOP;
END $$;
-- +goose StatementEnd
DROP TRIGGER case_parties_seated ON case_parties;
DROP FUNCTION seat_at_table, measure_staged, reaches_case, reaches_donor, reaches_person, reaches_event, reaches_candidate, donors_reached_otherwise;
ALTER TABLE specimens DROP COLUMN region;
ALTER TABLE cases DROP COLUMN sites, DROP COLUMN donor_sites;
DROP TABLE link.messages, openings, emergency_access, shares;
DROP TYPE region_range;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM liferelay_register;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM liferelay_register, liferelay_service;
REVOKE ALL ON ALL TABLES IN SCHEMA public, link FROM liferelay_service, liferelay_register, liferelay_intake, liferelay_link, liferelay_audit, liferelay_system;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM liferelay_service, liferelay_register;
REVOKE ALL ON SCHEMA public, link FROM liferelay_service, liferelay_register, liferelay_link;
REVOKE ALL ON FUNCTION ensure_partitions FROM liferelay_service;
ALTER FUNCTION ensure_partitions SECURITY INVOKER;
ALTER FUNCTION audit_awaits_seal SECURITY INVOKER;
