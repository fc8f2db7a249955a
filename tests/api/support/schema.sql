-- Everything that migrations can make or change, one line a thing, whatever order it was made in.

-- What there is at all, of whatever kind: what the lines below do not know is named here.
select 'there is ' || pg_describe_object(d.classid, d.objid, d.objsubid) as line
from pg_depend d
where d.refclassid = 'pg_namespace'::regclass and d.refobjid = 'public'::regnamespace
  and not exists (select from pg_depend e where e.classid = d.classid and e.objid = d.objid and e.deptype = 'e')
union all
select 'extension ' || extname from pg_extension
union all
select format('schema %s of %s: %s', nspname, nspowner::regrole, array(
    select format('%s %s', grantee::regrole, privilege_type)
    from aclexplode(coalesce(nspacl, acldefault('n', nspowner))) order by 1))
from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
union all
select format('default privileges of %s: %s', defaclrole::regrole, defaclacl) from pg_default_acl
union all
select format('table %s of kind %s and %s, walled %s %s, with %s: %s', relname, relkind, relowner::regrole,
    relrowsecurity, relforcerowsecurity, reloptions, array(
        select format('%s %s %s', grantee::regrole, privilege_type, is_grantable)
        from aclexplode(coalesce(relacl, acldefault('r', relowner))) order by 1))
from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
union all
select format('view %s: %s', relname, pg_get_viewdef(oid))
from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')
union all
select format('column %s.%s, number %s, %s, not null %s, by %s, generated %s %s, default %s: %s',
    c.relname, a.attname, row_number() over (partition by c.oid order by a.attnum),
    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation, a.attgenerated, a.attidentity,
    pg_get_expr(d.adbin, d.adrelid), array(
        select format('%s %s %s', grantee::regrole, privilege_type, is_grantable)
        from aclexplode(a.attacl) order by 1))
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
union all
select format('constraint %s on %s, valid %s: %s', conname, conrelid::regclass, convalidated, pg_get_constraintdef(oid))
from pg_constraint where connamespace = 'public'::regnamespace
union all
select 'index: ' || pg_get_indexdef(i.indexrelid)
from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'public'::regnamespace
union all
select format('policy %s on %s for %s to %s, permissive %s, using %s, check %s', polname, polrelid::regclass, polcmd,
    array(select r::regrole from unnest(polroles) r order by 1), polpermissive, pg_get_expr(polqual, polrelid),
    pg_get_expr(polwithcheck, polrelid))
from pg_policy
union all
select format('trigger, %s: %s', t.tgenabled, pg_get_triggerdef(t.oid)) from pg_trigger t where not t.tgisinternal
union all
select format('function of %s: %s: %s', p.proowner::regrole, pg_get_functiondef(p.oid), array(
    select format('%s %s %s', grantee::regrole, privilege_type, is_grantable)
    from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) order by 1))
from pg_proc p
where p.pronamespace = 'public'::regnamespace
  and not exists (select from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e')
order by line
