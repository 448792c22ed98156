// Under which rules devices fetch, as /api/v1 answers it.

export interface DeliveryRules {
  rate_bytes_s: number | null; // of one device
  hours: string[]; // "22:00-06:00"; empty: always
  timezone: string; // of the hours
  metered: "allow" | "wait";
  transport: "auto" | "mqtt" | "https";
  start_within_s: number;
  fleet_rate_bytes_s: number | null; // of all downloads together; the fleet's only
}
export interface DeliveryCounts {
  rate_bytes_s: number | null;
  hours: [number, number][]; // minutes of the day in UTC
  metered: "allow" | "wait";
  transport: "auto" | "mqtt" | "https";
  start_within_s: number;
}
export interface DeviceDelivery {
  own: DeliveryRules;
  fleet: DeliveryRules;
  counts: DeliveryCounts; // the strictest of both: what the device is told
}
