-- An office that works for patients has nothing of donors shared with it and serves no region: not by one person's roles, which are kept
-- apart, and not by two people at one desk.

-- +goose Up
-- A share ends without a word when its office begins to work for patients: when it ended would tell where the patient is.
ALTER TABLE shares ADD COLUMN severed_at timestamptz;
-- A remembered answer is given again only while the grants are as they were.
ALTER TABLE idempotency_keys ADD COLUMN revision bigint NOT NULL DEFAULT 0;

-- +goose StatementBegin
CREATE FUNCTION works_for_patients(office uuid) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
    works boolean;
BEGIN
    -- Asked over every case and search there is: what the asker reaches must make no difference.
    PERFORM set_config('liferelay.everywhere', 'on', true);
    works := EXISTS (SELECT FROM role_grants g JOIN staff s ON s.id = g.staff_id
            WHERE s.organisation_id = office AND g.role = 'transplant_hospital' AND g.revoked_at IS NULL AND g.until > now())
        OR EXISTS (SELECT FROM case_parties p WHERE p.organisation_id = office AND p.side = 'patient')
        OR EXISTS (SELECT FROM searches s WHERE s.organisation_id = office);
    PERFORM set_config('liferelay.everywhere', before, true);
    RETURN works;
END $$;

CREATE FUNCTION sever_shares(office uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
BEGIN
    PERFORM set_config('liferelay.everywhere', 'on', true);
    UPDATE shares SET severed_at = now() WHERE organisation_id = office AND severed_at IS NULL;
    PERFORM set_config('liferelay.everywhere', before, true);
END $$;

CREATE FUNCTION grant_severs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF NEW.role = 'transplant_hospital' THEN
        PERFORM sever_shares(organisation_id) FROM staff WHERE id = NEW.staff_id;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION move_severs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF EXISTS (SELECT FROM role_grants WHERE staff_id = NEW.id AND role = 'transplant_hospital' AND revoked_at IS NULL AND until > now()) THEN
        PERFORM sever_shares(NEW.organisation_id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER role_grants_sever AFTER INSERT ON role_grants FOR EACH ROW EXECUTE FUNCTION grant_severs();
CREATE TRIGGER staff_moved_sever AFTER UPDATE OF organisation_id ON staff FOR EACH ROW EXECUTE FUNCTION move_severs();

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
    PERFORM set_config('liferelay.everywhere', before, true);
    IF NEW.side = 'patient' THEN
        PERFORM sever_shares(NEW.organisation_id);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION donors_shared() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.shared', true), '');
BEGIN
    RETURN ARRAY(SELECT registration_id FROM shares WHERE organisation_id = office AND until > now() AND ended_at IS NULL AND severed_at IS NULL);
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION donors_shared() RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    office uuid := nullif(current_setting('liferelay.shared', true), '');
BEGIN
    RETURN ARRAY(SELECT registration_id FROM shares WHERE organisation_id = office AND until > now() AND ended_at IS NULL);
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
    IF NEW.side = 'patient' THEN
        UPDATE shares s SET ended_at = now() FROM cases c
        WHERE c.id = NEW.case_id AND s.registration_id = c.subject_id AND s.organisation_id = NEW.organisation_id AND s.ended_at IS NULL;
    END IF;
    PERFORM set_config('liferelay.everywhere', before, true);
    RETURN NULL;
END $$;
-- +goose StatementEnd
DROP TRIGGER role_grants_sever ON role_grants;
DROP TRIGGER staff_moved_sever ON staff;
DROP FUNCTION grant_severs, move_severs, sever_shares, works_for_patients;
ALTER TABLE shares DROP COLUMN severed_at;
ALTER TABLE idempotency_keys DROP COLUMN revision;
