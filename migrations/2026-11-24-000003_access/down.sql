drop trigger audit_insert on tenants;
drop trigger audit_update on tenants;
drop trigger audit_delete on tenants;
select audit_table('tenants', '{api_key}');
revoke update (api_key) on tenants from mercato_app;
drop index tenants_previous_api_key;
alter table tenants drop column previous_api_key, drop column previous_key_until;

drop trigger audit_insert on users;
drop trigger audit_update on users;
drop trigger audit_delete on users;
select audit_table('users', '{password_hash,mfa_secret,email}');
drop trigger end_access on users;
drop function end_access();
revoke update (mfa_secret, mfa_enabled) on users from mercato_app;
alter table users
    drop constraint users_mfa_has_a_secret,
    drop column access_version,
    drop column mfa_last_step,
    drop column mfa_recovery_codes;
