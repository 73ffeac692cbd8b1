/*
 * The handover of DESIGN 7, as the code does it: two sides, two runners that die, stall and come back, writers with
 * open transactions, statements whose outcome nobody knows, leases that run out on clocks that may be stepped back.
 *
 *   spin -a [-DMUTANT] [-DBOUND=n] handover.pml && cc -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=1024 -o pan pan.c && ./pan -m200000
 *
 * What stands for what
 *   runner          orchestrator/runner/{runner,hand-over,recover,lease}.ts and phases/handover.ts
 *   held[r]         one server-side call of migrations/fence-functions.ts. It holds the tables and the epoch row from its
 *                   checks to its commit, so it is one step; with SLOW it is two, and a takeover may end the session in
 *                   between; the mutant NO_ROW_LOCK is what is left when nothing makes the takeover do so
 *   stray           a call that was sent and given up; it lands whenever it likes, or never
 *   applier         stream/applier.ts: one transaction of the serving side at a time, its position in the same
 *                   transaction, and then the acknowledgement
 *   retention       stream/retention.ts, whose last statement may land at any time
 *   wal[]           the commits of a side in order: a client's write, our own applied rows, or a barrier
 *   clock           leases run out at any moment; STEPS of the clock back
 *
 * Properties
 *   I2  no acknowledged write is missing on the side that opens, nor on the serving side at the end
 *   I3  nothing of a client's at or before a slot's confirmed position, or a stored one, is missing on the other side
 *   I4  never do both sides accept writes; one that has decided accepts none
 *   I5  a lease that has run out lets writes through whatever died; a decision comes inside its lease; at the end writes
 *       are accepted, unless every runner is dead between a decision and its opening
 *   I6  a decision implies that all of the old side is on the new one
 *   I9  a side opens only without a difference
 *   I10 an effect has the epoch and the generation of its moment
 *
 * EDGE(from, to) marks what the journal can tell. The table of edges is what stands here, and nowhere else:
 * test/unit/handover-edges.test.ts reads it and holds the code to it.
 *
 * Moves of the run that no handover is part of (`state/state.ts`):
 *   outside: created -> prepared       blue serves, green's fence is closed, there is no stream yet
 *   outside: created -> aborting       abort ends before the first decision only, by compare-and-set on the row decide locks
 *   outside: prepared -> copying
 *   outside: prepared -> aborting
 *   outside: copying -> copying
 *   outside: copying -> building
 *   outside: copying -> aborting
 *   outside: building -> building
 *   outside: building -> syncing       the model begins here, with a clean sweep
 *   outside: building -> aborting
 *   outside: syncing -> finalized      no stream and no handover follows
 *   outside: syncing -> aborting       before the first decision
 *   outside: handing-over -> aborting  before the first decision
 *   outside: aborting -> aborting
 *   outside: aborting -> aborted
 */

/* Bounds: how much may happen in one run. */
#ifndef WRITES
#define WRITES 3        /* transactions of the application */
#endif
#ifndef WRITERS
#define WRITERS 2       /* of them at the same time */
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2      /* handovers begun, in either direction */
#endif
#ifndef FAULTS
#define FAULTS 2        /* deaths, stalls, lost answers, restarts of a server */
#endif
#ifndef STEPS
#define STEPS 0         /* times a clock is stepped back */
#endif
#ifndef ROUNDS
#define ROUNDS 1        /* of retention */
#endif

#ifdef NO_ROW_LOCK
#define SLOW
#endif
#ifdef SLOW
#define COMMIT }; atomic {
#else
#define COMMIT ;
#endif
#define GRANT(h, s) held[h] = (s) + 1; side[s].locked = 1
#define RELEASE(h, s) held[h] = 0; side[s].locked = 0

#define WAL 10
#define OPEN 0
#define LEASED 1
#define CLOSED 2
#define SERVING 0
#define STANDBY 1
#define NOBODY 2
#define OWN 100         /* rows of ours, applied */
#define BARRIER 50      /* plus the attempt's number */
#define OTHER(s) (1 - (s))

mtype = { idle, syncing, handing_over, gates, pause, freeze, drain, verify, stop, arm, decide, open, truth,
          switched, reverse, no_go, done, aborted, rehearsed, unfinished, opened, reopened, nothing, reopen, none };

typedef Side {
  byte epoch; byte gen; bit role;
  byte fence; byte lease; bit over; byte late;   /* the trigger: state, attempt, past its deadline; late passes */
  bit locked;                                    /* SHARE ROW EXCLUSIVE held */
  byte wal[WAL]; byte last;
  byte has;                                      /* the facts that are here, one bit each */
  bit wrong;                                     /* a difference, on the standby */
  byte stored; byte confirmed;                   /* progress of the stream that ends here; slot of the one that starts here */
  byte decGen; byte decBy; byte decAt;           /* newest decision taken here */
  byte advisory;                                 /* who holds the lease's lock here */
  byte armBy; bit armSent; byte armAt; byte armGen; byte armEpoch
};
Side side[2];

byte acked;                       /* writes whose client has been told */
byte writes, attempts, faults, steps, rounds;
byte inside[2];                   /* side + 1 on which a writer has a transaction open that has written */
byte held[3];                     /* runner 0 and 1, and the stray: side + 1 of a granted call that has not committed */
bit dead[2];                      /* never comes back */
byte streams[2];                  /* side + 1 that this runner's applier reads */
byte streamEpoch[2], streamGen[2];
byte applying[2];                 /* side + 1 of an open transaction of the applier */
byte retains = NOBODY;            /* whose retention is at work */
bit retentionLost;

#define ACCEPTS(s) (side[s].fence == OPEN || (side[s].fence == LEASED && side[s].over))
#define CLAIM(s, e, n) (side[s].epoch == (e) && side[s].gen == (n))
#define FAULT faults < FAULTS -> faults++
#define FREE(s) (inside[0] != (s) + 1 && inside[1] != (s) + 1 && !side[s].locked)

inline check() {
  assert(!(ACCEPTS(0) && ACCEPTS(1)));                                        /* I4 */
  assert(side[0].role == SERVING || !ACCEPTS(0));                             /* I4 */
  assert(side[1].role == SERVING || !ACCEPTS(1))                              /* I4 */
}

/* I3: every client's write of side s up to position p is on the other side. */
inline durable(s, p) {
  k = 1;
  do
  :: k <= p && k <= side[s].last ->
     assert(side[s].wal[k] >= BARRIER || (side[OTHER(s)].has & (1 << side[s].wal[k])));
     k++
  :: else -> k = 0; break
  od
}

inline append(s, entry) {
  side[s].last++;
  assert(side[s].last < WAL);     /* the bounds of the model, not a property */
  side[s].wal[side[s].last] = entry
}

/* Sessions that hold the epoch row or a lock on side s end. */
inline endSessions(s) {
  if :: held[0] == s + 1 -> held[0] = 0; side[s].locked = 0 :: else fi;
  if :: held[1] == s + 1 -> held[1] = 0; side[s].locked = 0 :: else fi;
  if :: held[2] == s + 1 -> held[2] = 0; side[s].locked = 0 :: else fi;
  if :: side[s].armBy != NOBODY -> side[s].armBy = NOBODY; side[s].armSent = 0; side[s].locked = 0 :: else fi;
  if :: applying[0] == s + 1 -> applying[0] = 0 :: else fi;
  if :: applying[1] == s + 1 -> applying[1] = 0 :: else fi
}

/* --- the effects of the server-side calls; I10 is asserted at each commit --- */

inline effectFreeze(s, e, n, a) {
  assert(CLAIM(s, e, n));                                                     /* I10 */
  side[s].fence = LEASED; side[s].lease = a; side[s].over = 0;
#ifndef BARRIER_FIRST
  append(s, BARRIER + a);
#endif
  check()
}

inline effectReopen(s, e, n) {
  assert(CLAIM(s, e, n));                                                     /* I10 */
  side[s].fence = OPEN; side[s].lease = 0; side[s].over = 0;
  check()
}

inline effectDecide(s, e, n, a, at) {
  assert(CLAIM(s, e, n));                                                     /* I10 */
  assert((side[s].has & ~side[OTHER(s)].has) == 0);                           /* I6 */
  side[s].decGen = n + 1; side[s].decBy = a; side[s].decAt = at;
  side[s].gen = n + 1; side[s].role = STANDBY;
  side[s].stored = at;
  side[s].fence = CLOSED; side[s].lease = 0; side[s].over = 0;
  check()
}

inline effectOpen(s) {
  assert(CLAIM(s, side[s].armEpoch, side[s].armGen));                         /* I10 */
  assert(side[OTHER(s)].decGen == side[s].armGen + 1);                        /* I4: only after a decision */
  assert((acked & ~side[s].has) == 0);                                        /* I2 */
  assert(!side[s].wrong);                                                     /* I9 */
  side[s].fence = OPEN; side[s].gen = side[s].armGen + 1; side[s].role = SERVING;
  side[s].armBy = NOBODY; side[s].armSent = 0; side[s].locked = 0;
  check()
}

#define MAYFREEZE(s, e, n) (FREE(s) && CLAIM(s, e, n) && side[s].role == SERVING && ACCEPTS(s))
#define MAYREOPEN(s, e, n, a) (FREE(s) && CLAIM(s, e, n) && side[s].role == SERVING && \
  !(side[s].decGen > 0 && side[s].decBy == (a)) && (side[s].fence == OPEN || (side[s].fence == LEASED && side[s].lease == (a))))
#ifdef NO_CLOCK
#define IN_TIME(s, l) true
#else
#ifdef NO_LATE
#define IN_TIME(s, l) (!side[s].over)
#else
#define IN_TIME(s, l) (!side[s].over && side[s].late == (l))
#endif
#endif
#define MAYDECIDE(s, e, n, a, l, at) (FREE(s) && CLAIM(s, e, n) && side[s].role == SERVING && side[s].fence == LEASED && \
  side[s].lease == (a) && IN_TIME(s, l) && side[s].stored <= (at))
#define MAYARM(s, e, n) (FREE(s) && CLAIM(s, e, n) && side[s].role == STANDBY && side[s].fence == CLOSED)

/* --- clients --- */

proctype writer(byte i) {
  byte s, w;
#ifdef FLAG_ROW
  bit seen;                       /* what this transaction's snapshot says of the fence */
#endif
end:
  do
#ifdef FLAG_ROW
  :: atomic { writes < WRITES -> writes++; w = writes; if :: s = 0 :: s = 1 fi; seen = ACCEPTS(s) }
     if
     :: atomic { !side[s].locked && seen -> inside[i] = s + 1 }
     :: atomic { !seen -> s = 0; w = 0; goto end }
     fi;
#else
  :: atomic {
       writes < WRITES && ((!side[0].locked && ACCEPTS(0)) || (!side[1].locked && ACCEPTS(1))) ->
       writes++; w = writes;
       if :: !side[0].locked && ACCEPTS(0) -> s = 0 :: !side[1].locked && ACCEPTS(1) -> s = 1 fi;
       /* nextval: not undone by a rollback */
       if :: side[s].fence == LEASED -> side[s].late++ :: else fi;
       inside[i] = s + 1
     }
#endif
     /* open, for as long as it likes */
     if
     :: atomic {
          inside[i] ->
          inside[i] = 0; append(s, w); side[s].has = side[s].has | (1 << w); acked = acked | (1 << w); s = 0; w = 0
        }
     :: atomic { !inside[i] -> s = 0; w = 0 }     /* its server was restarted */
     fi
  od
}

/* --- the stream --- */

proctype applier(byte r) {
  byte s, p, x, k, e, n;
#define FROM (streams[r] - 1)
#define AFTER(s) (side[OTHER(s)].stored > side[s].confirmed -> side[OTHER(s)].stored : side[s].confirmed)
end:
  do
  :: atomic {
       streams[r] && AFTER(FROM) < side[FROM].last && CLAIM(OTHER(FROM), streamEpoch[r], streamGen[r]) &&
       applying[OTHER(r)] != OTHER(FROM) + 1 ->
       s = FROM; p = AFTER(s) + 1; x = side[s].wal[p];
       assert(x != OWN);          /* I2: our own rows must never come back as if a client had written them */
       e = streamEpoch[r]; n = streamGen[r];
       applying[r] = OTHER(s) + 1
       COMMIT
       if
       :: applying[r] ->
          assert(CLAIM(OTHER(s), e, n));                                      /* I10 */
          applying[r] = 0;
          if
          :: x < BARRIER ->
             side[OTHER(s)].has = side[OTHER(s)].has | (1 << x); append(OTHER(s), OWN);
             if :: FAULT; side[OTHER(s)].wrong = 1 :: true fi
          :: else
          fi;
          side[OTHER(s)].stored = p; durable(s, p)
       :: else -> p = 0
       fi
       COMMIT
       /* the acknowledgement, after the commit */
       if :: p > side[s].confirmed -> side[s].confirmed = p; durable(s, p) :: else fi;
       s = 0; p = 0; x = 0; e = 0; n = 0
     }
  od
}

proctype retention() {
  byte s, position, k, e, n; bit r;
end:
  do
  :: atomic {
       rounds < ROUNDS && retains == NOBODY && (streams[0] || streams[1]) ->
       if :: streams[0] -> r = 0 :: streams[1] -> r = 1 fi;
       s = OTHER(FROM); e = streamEpoch[r]; n = streamGen[r];
       if
       :: CLAIM(s, e, n) && side[s].role == STANDBY && side[s].fence == CLOSED ->
          position = side[s].last; retains = r; rounds++
       :: else -> s = 0; e = 0; n = 0; r = 0; goto end
       fi
     }
     if
     :: atomic {
          CLAIM(OTHER(s), e, n) && side[OTHER(s)].role == SERVING ->
          if :: side[OTHER(s)].stored < position -> side[OTHER(s)].stored = position; durable(s, position) :: else fi
        }
        if
        :: true
        :: atomic { FAULT -> retains = NOBODY; retentionLost = 1 }     /* given up; lands later */
        fi;
        atomic {
#ifdef LATE_ADVANCE
          position = side[s].last;
#endif
          if :: side[s].confirmed < position -> side[s].confirmed = position; durable(s, position) :: else fi;
          if :: !retentionLost -> retains = NOBODY :: else -> retentionLost = 0 fi
        }
     :: atomic { !(CLAIM(OTHER(s), e, n) && side[OTHER(s)].role == SERVING) -> retains = NOBODY }
     fi;
     atomic { s = 0; position = 0; r = 0; e = 0; n = 0 }
  od
}

#ifdef CANARY_CONSUMER
/* An earlier canary: a consumer of the standby's slot that acknowledges what it reads, and is not ended before T opens. */
proctype canary() {
  byte k; bit s;
end:
  do
  :: atomic { side[0].confirmed < side[0].last && side[0].decGen > 0 -> side[0].confirmed = side[0].last; s = 0; durable(0, side[0].last) }
  :: atomic { side[1].confirmed < side[1].last && side[1].gen == 1 -> side[1].confirmed = side[1].last; s = 1; durable(1, side[1].last) }
  od
}
#endif

/* --- a statement of unknown outcome --- */

mtype strayCall = none;
byte straySide, strayEpoch, strayGen, strayBy, strayLate, strayAt;

inline sendAway(call, s, e, n, a, l, at) {
  strayCall = call; straySide = s; strayEpoch = e; strayGen = n; strayBy = a; strayLate = l; strayAt = at
}
inline forget() {
  strayCall = none; straySide = 0; strayEpoch = 0; strayGen = 0; strayBy = 0; strayLate = 0; strayAt = 0
}

proctype stray() {
end:
  do
  :: atomic {
       strayCall == freeze && MAYFREEZE(straySide, strayEpoch, strayGen) -> GRANT(2, straySide)
       COMMIT
       if
       :: held[2] -> RELEASE(2, straySide); effectFreeze(straySide, strayEpoch, strayGen, strayBy)
       :: else
       fi;
       forget()
     }
  :: atomic {
       strayCall == reopen && MAYREOPEN(straySide, strayEpoch, strayGen, strayBy) -> GRANT(2, straySide)
       COMMIT
       if
       :: held[2] -> RELEASE(2, straySide); effectReopen(straySide, strayEpoch, strayGen)
       :: else
       fi;
       forget()
     }
  :: atomic {
       strayCall == decide && MAYDECIDE(straySide, strayEpoch, strayGen, strayBy, strayLate, strayAt) -> GRANT(2, straySide)
       COMMIT
       if
       :: held[2] -> RELEASE(2, straySide); effectDecide(straySide, strayEpoch, strayGen, strayBy, strayAt)
       :: else
       fi;
       forget()
     }
  od
}

/* --- the runner --- */

#define EDGE(a, b) assert(at == a); at = b

#define LOCKS (side[0].advisory == r && side[1].advisory == r)

inline bump(s) {
  if
  :: atomic {
       LOCKS && side[s].epoch < e ->
#ifndef NO_ROW_LOCK
       endSessions(s);
#endif
       side[s].epoch = e
     }
  :: atomic { !(LOCKS && side[s].epoch < e) -> goto lost }
  fi
}


proctype runner(byte r) {
  byte e, n, S, a, seenLate, barrier, L;
  bit asked, rehearsal, kept;     /* an attempt of this incarnation is under way; it was rolled back; S still serves */
  mtype at = idle;
#define T OTHER(S)

end_wait:
  /* Green's lock first, always; a holder that has stopped renewing is cut off. */
  if
  :: atomic { side[1].advisory == NOBODY -> side[1].advisory = r }
  :: atomic { side[1].advisory == OTHER(r) && !dead[OTHER(r)] && FAULT; side[1].advisory = r }
  fi;
  if
  :: atomic { side[1].advisory == r -> side[0].advisory = r }
  :: atomic { side[1].advisory != r -> goto lost }
  fi;
  EDGE(idle, truth);

again:
  /* The stream of before ends, with the transaction in flight; then the next epoch on both sides. */
  atomic {
    streams[r] = 0; a = 0; seenLate = 0; barrier = 0; L = 0;
    applying[r] == 0;
    e = (side[0].epoch > side[1].epoch -> side[0].epoch : side[1].epoch) + 1
    COMMIT
    skip
  }
  bump(0);
  bump(1);

  /* recover.ts: what both rows say. */
  atomic {
    if
    :: side[0].gen == side[1].gen ->
       assert(side[0].role != side[1].role);
       if :: side[0].role == SERVING -> barrier = 0 :: else -> barrier = 1 fi;
       n = side[0].gen;
       if
       :: side[barrier].fence != LEASED -> EDGE(truth, nothing)
       :: else -> EDGE(truth, reopened)
       fi
    :: else ->
       barrier = (side[0].gen > side[1].gen -> 1 : 0);
       assert(side[OTHER(barrier)].gen == side[barrier].gen + 1 && side[0].role == STANDBY && side[1].role == STANDBY);
       n = side[barrier].gen;
       EDGE(truth, opened)
    fi;
    /* `asked` stands for the attempt whose outcome is told now: was S left? */
    kept = asked && barrier == S;
    S = barrier; barrier = 0
  }
  if
  :: atomic { at == reopened -> a = side[S].lease }
     if
     :: atomic {
          MAYREOPEN(S, e, n, a) -> GRANT(r, S)
          COMMIT
          if
          :: held[r] -> RELEASE(r, S); effectReopen(S, e, n)
          :: else -> EDGE(reopened, truth); goto again
          fi
        }
     :: atomic { !CLAIM(S, e, n) -> goto lost }
     /* 55P03 behind a lapsed lease: it lets writes through by itself. */
     :: atomic { CLAIM(S, e, n) && side[S].over && !FREE(S) }
     :: atomic { FAULT; sendAway(reopen, S, e, n, a, 0, 0); if :: EDGE(reopened, truth); goto again :: goto crash fi }
     fi
  :: atomic { at == opened }
     if
     :: atomic { MAYARM(S, e, n) -> side[S].locked = 1; side[S].armBy = r; side[S].armGen = n; side[S].armEpoch = e; side[S].armSent = 1 }
        if
        :: atomic { side[S].armBy == r && side[S].armSent -> effectOpen(S); n = n + 1 }
        :: atomic { side[S].armBy != r -> if :: CLAIM(S, e, n + 1) -> n = n + 1 :: else -> EDGE(opened, truth); goto again fi }
        :: atomic { FAULT; if :: EDGE(opened, truth); goto again :: goto crash fi }
        fi
     :: atomic { !CLAIM(S, e, n) -> goto lost }
     fi
  :: atomic { at == nothing }
  fi;

  atomic {
    if :: at == reopened -> EDGE(reopened, syncing) :: at == opened -> EDGE(opened, syncing) :: at == nothing -> EDGE(nothing, syncing) fi;
    a = 0;
    if
    :: asked && kept && rehearsal -> EDGE(syncing, rehearsed); EDGE(rehearsed, syncing)
    :: asked && kept && !rehearsal -> EDGE(syncing, aborted); EDGE(aborted, syncing)
    :: asked && !kept ->
       /* the attempt left S: steps 10 and 11, which nothing depends on but the clients' way to the new side */
       EDGE(syncing, switched);
       if
       :: FAULT; EDGE(switched, unfinished); EDGE(unfinished, syncing)
       :: true ->
          EDGE(switched, reverse);
#ifdef LATE_POSITION
          side[T].stored = side[S].last;
#endif
          if
          :: FAULT; EDGE(reverse, unfinished); EDGE(unfinished, syncing)
          :: true -> EDGE(reverse, done); EDGE(done, syncing)
          fi
       fi
    :: else
    fi;
    asked = 0; rehearsal = 0; kept = 0;
    streams[r] = S + 1; streamEpoch[r] = e; streamGen[r] = n
  }

end_serve:
  if
  :: atomic { !LOCKS -> goto lost }
  :: atomic { FAULT; goto crash }
  :: atomic { LOCKS && attempts < ATTEMPTS -> attempts++; a = attempts; EDGE(syncing, gates) }
  fi;

  /* 1 gates: a sweep; what it finds is repaired, and the handover is not begun */
  atomic {
    if
    :: side[T].wrong && CLAIM(T, e, n) -> side[T].wrong = 0; EDGE(gates, no_go); EDGE(no_go, syncing); goto end_serve
    :: !CLAIM(T, e, n) -> goto lost
    :: else -> EDGE(gates, handing_over); EDGE(handing_over, pause)
    fi
  }
  /* 3 freeze */
#ifdef BARRIER_FIRST
  atomic { append(S, BARRIER + a); barrier = side[S].last; };
#endif
  atomic { asked = 1; if :: FAULT; EDGE(pause, truth); goto again :: EDGE(pause, freeze) fi }
  if
  :: atomic {
       MAYFREEZE(S, e, n) -> GRANT(r, S)
       COMMIT
       if
       :: held[r] ->
          RELEASE(r, S); seenLate = side[S].late; effectFreeze(S, e, n, a);
#ifndef BARRIER_FIRST
          barrier = side[S].last
#endif
       :: else -> EDGE(freeze, truth); goto again
       fi
     }
  :: atomic { !CLAIM(S, e, n) -> EDGE(freeze, truth); goto again }
  :: atomic { FAULT; sendAway(freeze, S, e, n, a, 0, 0); if :: EDGE(freeze, truth); goto again :: goto crash fi }
  fi;

  /* 4 drain: this runner's applier has committed the barrier's transaction on T */
  EDGE(freeze, drain);
  if
#ifdef DRAINED_BY_LAG
  :: atomic { true -> EDGE(drain, verify) }      /* everything sent has been received */
#else
  :: atomic { side[T].stored >= barrier -> EDGE(drain, verify) }
#endif
  :: atomic { side[S].over || !CLAIM(T, e, n) -> EDGE(drain, truth); goto again }     /* the budget is used up */
  :: atomic { FAULT; goto crash }
  fi;

  /* 5 verify */
  atomic {
    if
#ifndef NO_VERIFY
    :: side[T].wrong -> EDGE(verify, truth); goto again
#endif
    :: else -> EDGE(verify, stop)
    fi
  }

  /* 6 stop: the stream, and whoever else moves T's slot; then the position */
  streams[r] = 0;
  applying[r] == 0 && retains != r;
  atomic { L = side[T].last; if :: FAULT; EDGE(stop, truth); goto again :: EDGE(stop, arm) fi }

  /* 7 arm */
  if
  :: atomic { MAYARM(T, e, n) -> side[T].locked = 1; side[T].armBy = r; side[T].armGen = n; side[T].armEpoch = e }
  :: atomic { !CLAIM(T, e, n) -> EDGE(arm, truth); goto again }
  :: atomic { FAULT; EDGE(arm, truth); goto again }
  fi;
  if
  :: atomic { rehearsal = 1; if :: side[T].armBy == r -> side[T].armBy = NOBODY; side[T].locked = 0 :: else fi; EDGE(arm, truth); goto again }
  :: atomic { FAULT; if :: side[T].armBy == r -> side[T].armBy = NOBODY; side[T].locked = 0 :: true fi; goto crash }
  :: EDGE(arm, decide)
  fi;

  /* 8 decide */
  if
  :: atomic {
       MAYDECIDE(S, e, n, a, seenLate, L) -> GRANT(r, S)
       COMMIT
       if
       :: held[r] -> RELEASE(r, S); effectDecide(S, e, n, a, L)
       :: else -> EDGE(decide, truth); goto again
       fi
     }
  :: atomic { FREE(S) && !MAYDECIDE(S, e, n, a, seenLate, L) ->
       if :: side[T].armBy == r -> side[T].armBy = NOBODY; side[T].locked = 0 :: else fi;
       EDGE(decide, truth); goto again }
  :: atomic { FAULT; sendAway(decide, S, e, n, a, seenLate, L); if :: EDGE(decide, truth); goto again :: goto crash fi }
  fi;

  /* 9 open */
  EDGE(decide, open);
  atomic {
    if
    :: side[T].armBy == r -> side[T].armSent = 1
    :: else -> EDGE(open, truth); goto again
    fi
  }
  if
  :: atomic { side[T].armBy == r && side[T].armSent -> effectOpen(T); EDGE(open, truth); goto again }
  :: atomic { side[T].armBy != r -> EDGE(open, truth); goto again }
  :: atomic { FAULT; if :: EDGE(open, truth); goto again :: goto crash fi }
  fi;

lost:
  /* exit 7: the stream ends, nothing more is written; another process waits for the lease */
  atomic {
    streams[r] = 0; asked = 0; rehearsal = 0; kept = 0;
    if :: side[0].advisory == r -> side[0].advisory = NOBODY :: else fi;
    if :: side[1].advisory == r -> side[1].advisory = NOBODY :: else fi;
    e = 0; n = 0; S = 0; a = 0; seenLate = 0; barrier = 0; L = 0; at = idle;
    goto end_wait
  }

crash:
  atomic {
    streams[r] = 0; asked = 0; rehearsal = 0; kept = 0;
    if :: side[0].advisory == r -> side[0].advisory = NOBODY :: else fi;
    if :: side[1].advisory == r -> side[1].advisory = NOBODY :: else fi;
    e = 0; n = 0; S = 0; a = 0; seenLate = 0; barrier = 0; L = 0; at = idle;
    if
    :: goto end_wait
    :: dead[r] = 1
    fi
  }
}

/* COMMITs of an opening that were sent and given up. */
proctype armed() {
end:
  do
  :: atomic { side[0].armBy != NOBODY && side[0].armSent -> effectOpen(0) }
  :: atomic { side[1].armBy != NOBODY && side[1].armSent -> effectOpen(1) }
  od
}

/* Time, and servers that are restarted at once: what was not committed is gone, and a slot may have fallen back. */
proctype world() {
  byte s;
end:
  do
#ifndef NO_DEADLINE
  :: atomic { side[0].fence == LEASED && !side[0].over -> side[0].over = 1; check() }
  :: atomic { side[1].fence == LEASED && !side[1].over -> side[1].over = 1; check() }
#endif
  :: atomic { steps < STEPS && side[0].over -> steps++; side[0].over = 0 }
  :: atomic { steps < STEPS && side[1].over -> steps++; side[1].over = 0 }
  :: atomic {
       FAULT; if :: s = 0 :: s = 1 fi;
       endSessions(s);
       if :: inside[0] == s + 1 -> inside[0] = 0 :: else fi;
       if :: inside[1] == s + 1 -> inside[1] = 0 :: else fi;
       side[s].advisory = NOBODY;
       if :: side[s].confirmed = 0 :: true fi;
       s = 0
     }
  od
}

/* When nothing can move any more: I5, I2, and that whoever is left has brought both sides together again. */
proctype finale() {
  byte s;
  timeout ->
  assert(ACCEPTS(0) || ACCEPTS(1) || (dead[0] && dead[1] && side[0].gen != side[1].gen));      /* I5 */
  if
  :: dead[0] && dead[1]
  :: else ->
     s = (side[0].role == SERVING -> 0 : 1);
     assert((acked & ~side[s].has) == 0);                                                       /* I2 */
     assert((side[s].has & ~side[OTHER(s)].has) == 0)                                           /* I12 */
  fi
}

init {
  atomic {
    side[0].role = SERVING; side[0].fence = OPEN;
    side[1].role = STANDBY; side[1].fence = CLOSED;
    side[0].advisory = NOBODY; side[1].advisory = NOBODY;
    side[0].armBy = NOBODY; side[1].armBy = NOBODY;
    run runner(0); run runner(1);
    run applier(0); run applier(1);
    run writer(0);
    if :: WRITERS > 1 -> run writer(1) :: else fi;
    run retention();
    run stray(); run armed(); run world();
#ifdef CANARY_CONSUMER
    run canary();
#endif
    run finale()
  }
}
