"""What algorithms compute with: FedImpro's feature statistics, and its plain form."""
