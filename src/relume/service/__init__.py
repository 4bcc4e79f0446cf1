r"""The service: pictures over HTTP, jobs that survive, and the page.

.. code-block:: text

    browser, curl ──▶ guard ──▶ routes ──▶ intake ──▶ folders + store ◀── worker ──▶ tasks
                                  ▲                        │                (a process of its own)
                                  └───────── feed ─────────┘

======================  =========================================================================
``config.py``           what it is told when it starts
``request.py``          what one job is asked for; its idempotency key
``intake.py``           bytes → a job in the queue, checked and kept
``folders.py``          uploads and results on disk, private, content-addressed
``schema.py``           the job table in SQLite or PostgreSQL
``store.py``            what happens to jobs: submit, claim, beat, finish, fail, release, delete
``leases.py``           finding dead workers without trusting a clock
``clock.py``            time that does not jump
``opening.py``          opening the table, and making it anew from the folders
``worker.py``           one engine, several jobs in flight on it
``lanes.py``            which jobs run beside each other
``result.py``           a job → the parts of its result
``preview.py``          a small picture while it runs
``workers.py``          worker processes: started, watched, asked to leave
``sweep.py``            what is over is deleted
``feed.py``             one look at the table for all who wait
``problems.py``         errors as problem details
``metrics.py``          what Prometheus reads
``guard.py``            what every request passes
``routes/``             one group of addresses a file
``page/``               the page: plain HTML, CSS and scripts, no build step
``app.py``, ``server.py``  the application, and running it
======================  =========================================================================
"""

__all__: list[str] = []
