"""What the papers say as a whole: the map, trends by month, the monthly digest."""
