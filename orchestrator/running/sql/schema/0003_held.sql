-- Why a task that is held waits for another attempt, as JSON (`orchestrator.running.holding`); empty for any other.
alter table tasks add column held text not null default '';
