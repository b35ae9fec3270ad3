package lineside

import (
	"maps"
	"time"
)

// E10 is an equipment state of SEMI E10, with the sub-reason that standby needs. A head is in exactly one at any time, so
// the times add up to the whole. Engineering and non-scheduled time are people's decisions, not a head's, and are not
// kept here: a worker that does not run is in neither of these states.
type E10 string

// The states that a head can be in.
const (
	Productive      E10 = "productive"
	StandbyOperator E10 = "standby/no-operator"
	StandbyMaterial E10 = "standby/no-material"
	StandbyJob      E10 = "standby/no-job"
	StandbyHost     E10 = "standby/host-wait"
	ScheduledDown   E10 = "scheduled-down"
	UnscheduledDown E10 = "unscheduled-down"
)

// equipmentClock adds up how long a head was in each state. It begins with the first enter.
type equipmentClock struct {
	now   E10
	since time.Time // when it entered now
	last  time.Time // up to when times are added up
	spent map[E10]time.Duration
}

// enter closes the time since the last call and moves to a state. Time that goes back counts as none.
func (c *equipmentClock) enter(state E10, now time.Time) {
	if c.spent == nil {
		c.spent, c.last = map[E10]time.Duration{}, now
	}
	if d := now.Sub(c.last); d > 0 {
		c.spent[c.now] += d
		c.last = now
	}
	if state != c.now {
		c.now, c.since = state, now
	}
}

// durations gives the times up to now.
func (c *equipmentClock) durations(now time.Time) map[E10]time.Duration {
	m := map[E10]time.Duration{}
	maps.Copy(m, c.spent)
	if d := now.Sub(c.last); d > 0 && c.spent != nil {
		m[c.now] += d
	}
	return m
}

// equipment says what the head's state means in SEMI E10.
func (h *Head) equipment() E10 {
	switch h.state {
	case StateIdle:
		if h.paused {
			return StandbyOperator
		}
		return StandbyJob
	case StateDone:
		return StandbyJob
	case StateEmpty:
		return StandbyMaterial
	case StateWaiting, StateHeld:
		return StandbyHost
	case StateAsking, StateReporting:
		if h.away {
			return StandbyHost
		}
		return Productive
	case StateStopped:
		if h.stopped.Cause == CauseDisabled {
			return ScheduledDown
		}
		return UnscheduledDown
	case StateFaulted:
		return UnscheduledDown
	}
	return Productive
}
