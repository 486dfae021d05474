-- +goose Up
-- A connection makes a statement ready before the act that runs it has begun, as liferelay_service: it has to know that there are such tables. What is
-- in them stays closed to it, as it was: that takes a grant on each table, which it has none of, and the row policies let nothing through to it.
GRANT USAGE ON SCHEMA link TO liferelay_service;

-- Who may do which work is kept by the revision of the grants: what somebody is called is in it, and whether their organisation still works.
CREATE TRIGGER staff_renamed_bump AFTER UPDATE OF display_name ON staff
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();
CREATE TRIGGER organisations_bump AFTER UPDATE OF active, region ON organisations
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();

-- An event is nearly always a case's: whoever reaches that need not be held against all else that an event can be about.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION reaches_event(of_case uuid, of_registration uuid, of_person uuid, of_drive uuid, of_search uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF of_case IS NOT NULL AND EXISTS (SELECT FROM cases WHERE id = of_case) THEN
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM registrations WHERE id = of_registration) OR EXISTS (SELECT FROM registrations WHERE person_id = of_person)
        OR EXISTS (SELECT FROM drives WHERE id = of_drive) OR EXISTS (SELECT FROM searches WHERE id = of_search);
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION reaches_event(of_case uuid, of_registration uuid, of_person uuid, of_drive uuid, of_search uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM cases WHERE id = of_case) OR EXISTS (SELECT FROM registrations WHERE id = of_registration)
        OR EXISTS (SELECT FROM registrations WHERE person_id = of_person) OR EXISTS (SELECT FROM drives WHERE id = of_drive)
        OR EXISTS (SELECT FROM searches WHERE id = of_search);
END $$;
-- +goose StatementEnd
DROP TRIGGER organisations_bump ON organisations;
DROP TRIGGER staff_renamed_bump ON staff;
REVOKE USAGE ON SCHEMA link FROM liferelay_service;
