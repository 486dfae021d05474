-- +goose Up
-- A connection makes a statement ready before the act that runs it has begun, as liferelay_service: it has to know that there are such tables. What is
-- in them stays closed to it, as it was: that takes a grant on each table, which it has none of, and the row policies let nothing through to it.
GRANT USAGE ON SCHEMA link TO liferelay_service;

-- Who may do which work is kept by the revision of the grants: what somebody is called is in it, and whether their organisation still works.
CREATE TRIGGER staff_renamed_bump AFTER UPDATE OF display_name ON staff
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();
CREATE TRIGGER organisations_bump AFTER UPDATE OF active, region ON organisations
    FOR EACH STATEMENT EXECUTE FUNCTION bump_policy_revision();

-- +goose Down
DROP TRIGGER organisations_bump ON organisations;
DROP TRIGGER staff_renamed_bump ON staff;
REVOKE USAGE ON SCHEMA link FROM liferelay_service;
