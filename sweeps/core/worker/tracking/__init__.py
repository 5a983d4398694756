"""Where else a trial's reports go: dashboards of others, which never cost the trial anything."""
