revoke delete on processed_events from mercato_system;
revoke select (received_at) on processed_events from mercato_system;
revoke insert on processed_events from mercato_app;
drop policy across_tenants on processed_events;
drop index processed_events_received;
revoke select (tenant_id, id, status, total_amount, created_at) on orders from mercato_system;
drop policy across_tenants on orders;
drop index orders_unpaid;
drop table payment_tasks;
drop table refunds;
revoke insert, update (stripe_payment_intent, status, attempt, captured_amount, refunded_amount, problem, captured_at,
    cancelled_at) on payments from mercato_app;
revoke select (tenant_id, id, order_id, stripe_payment_intent) on payments from mercato_system;
drop policy across_tenants on payments;
drop index payments_id;
drop index payments_intent;
alter table payments
    drop column cancelled_at, drop column captured_at, drop column problem, drop column refunded_amount,
    drop column captured_amount, drop column attempt, drop column currency;
