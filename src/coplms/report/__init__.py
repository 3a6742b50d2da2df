"""What a run's folder tells: tables, pictures, and a page that holds both."""
