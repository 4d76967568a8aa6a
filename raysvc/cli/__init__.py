"""What people type. Presents what the SDK returns; decides nothing."""
