-- What a second factor has opened ends when it is taken away.

create or replace function end_access() returns trigger
language plpgsql
as $$
begin
    if (new.password_hash, new.role, new.is_active) is distinct from (old.password_hash, old.role, old.is_active)
        or (old.mfa_enabled and not new.mfa_enabled)
    then
        new.access_version := old.access_version + 1;
    end if;
    return new;
end
$$;
