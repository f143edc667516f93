"""The computer: hardware, compiled programs, files that are whole or not there."""
