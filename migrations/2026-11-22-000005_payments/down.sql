drop table processed_events;
drop table payments;
