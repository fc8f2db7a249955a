-- One row for each broken promise, in the tenant that is set.
select 'stock is negative: ' || product_id from inventory where quantity < 0
union all
select 'stock is not the sum of its movements: ' || i.product_id
from inventory i
where i.quantity <> (select coalesce(sum(m.delta), 0) from inventory_movements m where m.product_id = i.product_id)
union all
select 'order total is not the sum of its lines: ' || o.id
from orders o
where o.total_amount <> (select coalesce(sum(l.quantity * l.price_at_time), 0) from order_items l where l.order_id = o.id)
union all
select 'last history row is not the status: ' || o.id
from orders o
where o.status is distinct from (
    select h.to_status from order_status_history h where h.order_id = o.id order by h.created_at desc, h.id desc limit 1)
union all
select 'illegal transition: ' || h.id
from order_status_history h
where (coalesce(h.from_status, ''), h.to_status) not in (
    ('', 'PENDING'), ('PENDING', 'PAID'), ('PENDING', 'CANCELLED'), ('PAID', 'FULFILLED'), ('PAID', 'CANCELLED'),
    ('FULFILLED', 'SHIPPED'), ('FULFILLED', 'CANCELLED'), ('SHIPPED', 'COMPLETED'))
union all
select 'stock of a cancelled order not returned once: ' || o.id
from orders o
where o.status = 'CANCELLED'
  and (select coalesce(sum(m.delta), 0) from inventory_movements m where m.order_id = o.id) <> 0
union all
select 'stock of a live order not taken once: ' || o.id
from orders o
where o.status <> 'CANCELLED'
  and (select coalesce(-sum(m.delta), 0) from inventory_movements m where m.order_id = o.id)
      <> (select sum(l.quantity) from order_items l where l.order_id = o.id)
union all
select 'order without its audit row: ' || o.id
from orders o
where (select count(*) from audit_logs a where a.resource = 'orders' and a.resource_id = o.id and a.action = 'CREATE') <> 1
union all
select 'money kept for an order that it does not pay: ' || p.id
from payments p
join orders o on o.id = p.order_id
where p.captured_at is not null and p.status <> 'REFUNDED' and (o.status in ('PENDING', 'CANCELLED') or p.problem is not null)
union all
select 'an open payment of an order that waits for none: ' || p.id
from payments p
join orders o on o.id = p.order_id
where p.captured_at is null and p.cancelled_at is null and o.status <> 'PENDING'
union all
select 'more given back than captured: ' || p.id
from payments p
where p.problem is null and p.captured_amount < (select coalesce(sum(r.amount), 0) from refunds r
    where r.payment_id = p.id and r.stripe_payment_intent = p.stripe_payment_intent and r.status <> 'FAILED')
union all
select 'a refund that nobody goes on with: ' || r.id
from refunds r
where r.status = 'PENDING' and not exists (select from payment_tasks t where t.order_id = r.order_id)
union all
select 'a payment without its audit row: ' || p.id
from payments p
where (select count(*) from audit_logs a where a.resource = 'payments' and a.resource_id = p.id and a.action = 'CREATE') <> 1;
