-- Ending access before tokens do, and second factors.

alter table users
    -- Tokens carry the version that they were issued under, and are good for no other.
    add column access_version     integer not null default 0,
    -- The time step of the last code that was accepted (RFC 6238): none that is not later counts again.
    add column mfa_last_step      bigint,
    -- Hashes of the recovery codes that are left.
    add column mfa_recovery_codes text[]  not null default '{}',
    add constraint users_mfa_has_a_secret check (not mfa_enabled or mfa_secret is not null);
grant update (access_version, mfa_secret, mfa_enabled, mfa_last_step, mfa_recovery_codes) on users to mercato_app;

-- Whoever changes what a user may do, or the password, ends what was issued before: no code can forget to.
create function end_access() returns trigger
language plpgsql
as $$
begin
    if (new.password_hash, new.role, new.is_active) is distinct from (old.password_hash, old.role, old.is_active) then
        new.access_version := old.access_version + 1;
    end if;
    return new;
end
$$;
create trigger end_access before update on users for each row execute function end_access();

-- The same triggers, with what is new and secret left out.
drop trigger audit_insert on users;
drop trigger audit_update on users;
drop trigger audit_delete on users;
select audit_table('users', '{password_hash,mfa_secret,mfa_last_step,mfa_recovery_codes,email}');

-- A shop's key keeps working for a while after another one has taken its place.
alter table tenants
    add column previous_api_key       text,
    add column previous_key_until timestamptz,
    add constraint tenants_previous_api_key_ends
        check ((previous_api_key is null) = (previous_key_until is null));
create index tenants_previous_api_key on tenants (previous_api_key) where previous_api_key is not null;
grant update (api_key, previous_api_key, previous_key_until) on tenants to mercato_app;
drop trigger audit_insert on tenants;
drop trigger audit_update on tenants;
drop trigger audit_delete on tenants;
select audit_table('tenants', '{api_key,previous_api_key}');
